//! Time-outs: how long a step may take before it counts as a hang.
//!
//! A time-out detects a hang and is no performance goal. A boot takes 50 ms, so one minute for a step is enough on a
//! loaded machine; `HOTMAP_TIMEOUT=3` makes every deadline three times as long.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What one step (a prompt, a reply, an event, an exit) may take at scale 1.
pub const STEP: Duration = Duration::from_secs(60);

/// The environment variable that scales every deadline.
pub const VARIABLE: &str = "HOTMAP_TIMEOUT";

/// The factor that `HOTMAP_TIMEOUT` asks for; 1 when it is not set.
///
/// # Errors
/// A sentence for the user when the value is not a positive number.
pub fn factor(value: Option<&str>) -> Result<f64, String> {
    let Some(text) = value else { return Ok(1.0) };
    match text.trim().parse::<f64>() {
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(factor),
        _ => Err(format!("{VARIABLE} wants a positive number that scales the time-outs, not '{text}'")),
    }
}

/// Checks `HOTMAP_TIMEOUT`; a binary calls this first, so that a wrong value is reported.
///
/// # Errors
/// As [`factor`].
pub fn check() -> Result<(), String> {
    factor(std::env::var(VARIABLE).ok().as_deref()).map(drop)
}

/// How long one step may take on this run.
pub fn step() -> Duration {
    static SCALED: OnceLock<Duration> = OnceLock::new();
    *SCALED
        .get_or_init(|| STEP.mul_f64(factor(std::env::var(VARIABLE).ok().as_deref()).unwrap_or(1.0).min(1e4)))
}

/// The end of a time-out.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    end: Instant,
}

impl Deadline {
    /// One step from now.
    pub fn for_step() -> Self {
        Self::after(step())
    }

    /// `steps` steps from now, for operations that move much memory.
    pub fn for_steps(steps: u32) -> Self {
        Self::after(step().saturating_mul(steps))
    }

    /// `span` from now.
    pub fn after(span: Duration) -> Self {
        Self { end: Instant::now() + span }
    }

    /// What is left; `None` once the moment has passed.
    pub fn left(self) -> Option<Duration> {
        self.end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::{Deadline, factor};
    use std::time::Duration;

    #[test]
    fn no_variable_means_no_scaling() {
        assert_eq!(factor(None), Ok(1.0));
    }

    #[test]
    fn fractions_and_multiples_scale() {
        assert_eq!(factor(Some("2.5")), Ok(2.5));
        assert_eq!(factor(Some(" 10 ")), Ok(10.0));
    }

    #[test]
    fn a_wrong_value_is_refused_by_name() {
        for bad in ["", "0", "-1", "inf", "NaN", "fast"] {
            let message = factor(Some(bad)).expect_err(bad);
            assert!(message.contains("HOTMAP_TIMEOUT"), "{message}");
        }
    }

    #[test]
    fn a_deadline_in_the_past_has_nothing_left() {
        let deadline = Deadline::after(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(3));
        assert!(deadline.left().is_none());
        assert!(Deadline::for_step().left().is_some());
    }
}
