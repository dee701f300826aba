//! What is kept of a guest: its `state`, and its entry in the journal.

use crate::ensure;
use crate::error::{Checked, failed};
use crate::state::State;

pub(super) fn sound_state(line: &str) -> Checked<State> {
    let state = State::parse(line).or_else(failed)?;
    let contradictions = state.contradictions();
    ensure!(contradictions.is_empty(), "state contradicts itself: {}", contradictions.join("; "));
    Ok(state)
}

pub(super) fn entry(heading: &str, text: &str, complaints: &str) -> String {
    let complaints =
        if complaints.is_empty() { String::new() } else { format!("--- QEMU says\n{complaints}\n") };
    format!("=== {heading}\n{text}\n{complaints}")
}

/// The console's text, with each action of the host at the position where it happened.
pub(super) fn with_notes(raw: &[u8], notes: &[(usize, String)]) -> String {
    let mut text = String::new();
    let mut from = 0;
    for (position, note) in notes {
        text.push_str(&crate::serial::clean(raw.get(from..*position).unwrap_or_default()));
        text.push_str(&format!("\n[host] {note}\n"));
        from = *position;
    }
    text.push_str(&crate::serial::clean(raw.get(from..).unwrap_or_default()));
    text
}

#[cfg(test)]
mod tests {
    use super::with_notes;

    #[test]
    fn an_action_of_the_host_is_at_the_position_where_it_happened() {
        let text = with_notes(b"boot\r\nhotmap> dimm0: inserted\r\n", &[(14, "device_add d0".into())]);
        assert_eq!(text, "boot\nhotmap> \n[host] device_add d0\ndimm0: inserted\n");
    }
}
