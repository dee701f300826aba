//! JSON, written as it is made: a state of thousands of blocks needs no buffer, and no heap that might be exhausted.

use core::fmt::{self, Display, Write};

use hotmap_kernel::kprint;

/// Writes one line of JSON to the console.
pub(super) struct Json {
    /// Whether the next member is the first of its object or array.
    first: bool,
}

impl Json {
    /// Writes an object, and ends the line.
    pub(super) fn line(members: impl FnOnce(&mut Self)) {
        let mut json = Self { first: true };
        json.braces('{', '}', members);
        kprint!("\n");
    }

    fn comma(&mut self) {
        if !core::mem::replace(&mut self.first, false) {
            kprint!(",");
        }
    }
    fn braces(&mut self, open: char, close: char, members: impl FnOnce(&mut Self)) {
        kprint!("{open}");
        self.first = true;
        members(self);
        kprint!("{close}");
        self.first = false;
    }
    fn key(&mut self, key: &str) {
        self.comma();
        kprint!("\"{key}\":");
    }

    fn member(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        kprint!("{value}");
    }

    /// A member that is a number or a literal.
    pub(super) fn number(&mut self, key: &str, value: impl Display) {
        self.member(key, format_args!("{value}"));
    }
    /// A member that is a string of our own words: nothing in it needs escaping.
    pub(super) fn word(&mut self, key: &str, value: impl Display) {
        self.member(key, format_args!("\"{value}\""));
    }
    /// A member that is a string of any text.
    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        kprint!("\"");
        // The console takes all of it.
        let _ = write!(Escaped, "{value}");
        kprint!("\"");
    }
    /// A member that is `null`.
    pub(super) fn null(&mut self, key: &str) {
        self.member(key, format_args!("null"));
    }
    /// A member that is an object.
    pub(super) fn object(&mut self, key: &str, members: impl FnOnce(&mut Self)) {
        self.key(key);
        self.braces('{', '}', members);
    }
    /// A member that is an array of numbers, which `numbers` prints: what it is given says what comes before the next one.
    pub(super) fn list(&mut self, key: &str, numbers: impl FnOnce(&mut dyn FnMut() -> &'static str)) {
        self.key(key);
        let mut comma = "";
        kprint!("[");
        numbers(&mut || core::mem::replace(&mut comma, ","));
        kprint!("]");
    }
    /// A member that is an array of objects.
    pub(super) fn array<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut members: impl FnMut(&mut Self, T),
    ) {
        self.key(key);
        self.braces('[', ']', |json| {
            for item in items {
                json.comma();
                json.braces('{', '}', |json| members(json, item));
            }
        });
    }
}

/// Prints what is written to it as the inside of a string (RFC 8259, section 7).
struct Escaped;

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => kprint!("\\{c}"),
                '\0'..' ' => kprint!("\\u{:04x}", u32::from(c)),
                _ => kprint!("{c}"),
            }
        }
        Ok(())
    }
}
