//! The command line of the three binaries. An unknown word is an error.

/// What was on the command line: flags without a value, options with one, and the other words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    flags: Vec<String>,
    values: Vec<(String, String)>,
    /// Words that are no options.
    pub rest: Vec<String>,
}

impl Words {
    /// Reads `words`, of which `flags` take no value and `options` take one (`--jobs 4` or `--jobs=4`).
    ///
    /// # Errors
    /// A sentence that names the word that is wrong.
    pub fn read(
        words: impl Iterator<Item = String>,
        flags: &[&str],
        options: &[&str],
    ) -> Result<Self, String> {
        let mut read = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            if flags.contains(&name.as_str()) && inline.is_none() {
                read.flags.push(name);
            } else if options.contains(&name.as_str()) {
                let value = inline.or_else(|| words.next()).ok_or(format!("{name} wants a value"))?;
                read.values.push((name, value));
            } else if name.starts_with('-') {
                return Err(format!("unknown option {name}; --help lists them"));
            } else {
                read.rest.push(name);
            }
        }
        Ok(read)
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    /// The last value of an option.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.values.iter().rev().find(|(name, _)| name == option).map(|(_, value)| value.as_str())
    }

    /// An option's value as a positive number.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn number(&self, option: &str, default: usize) -> Result<usize, String> {
        let Some(text) = self.value(option) else { return Ok(default) };
        let number = text.parse().ok().filter(|&number| number > 0);
        number.ok_or_else(|| format!("{option} wants a positive number, not '{text}'"))
    }
}

#[cfg(test)]
mod tests {
    use super::Words;

    fn read(line: &str) -> Result<Words, String> {
        Words::read(line.split_whitespace().map(str::to_owned), &["--list"], &["--jobs"])
    }

    #[test]
    fn flags_values_and_words_are_told_apart() {
        let words = read("life --list --jobs 4 16k").expect("read");
        assert!(words.has("--list"));
        assert_eq!(words.number("--jobs", 2), Ok(4));
        assert_eq!(words.rest, ["life", "16k"]);
        assert_eq!(read("--jobs=7").expect("read").value("--jobs"), Some("7"));
        assert_eq!(read("").expect("read").number("--jobs", 2), Ok(2));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(read("--lost").expect_err("unknown").contains("--lost"));
        assert!(read("--jobs").expect_err("no value").contains("--jobs"));
        assert!(read("--list=yes").is_err());
        assert!(read("--jobs 0").expect("read").number("--jobs", 2).is_err());
    }
}
