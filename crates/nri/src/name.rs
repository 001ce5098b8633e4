//! A plugin's index and name: in the name of its file, and as it says itself.
//!
//! *Invariant:* an index has two digits, so that the order of texts is the order of numbers.

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Two digits; plugins are called in this order.
    pub index: String,
    /// Its name.
    pub base: String,
}

/// Why it is no plugin's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a plugin: two digits, a dash, and letters, digits or any of -_.+")]
pub struct Wrong(pub String);

impl Name {
    /// From its parts.
    ///
    /// # Errors
    /// If they are none.
    pub fn new(index: &str, base: &str) -> Result<Self, Wrong> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        let good = index.len() == 2
            && index.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=255).contains(&base.len())
            && base.bytes().all(letter);
        let shown = || format!("{index}-{base}").chars().take(80).collect();
        if good { Ok(Name { index: index.into(), base: base.into() }) } else { Err(Wrong(shown())) }
    }

    /// From a file's name, `10-logger`.
    ///
    /// # Errors
    /// If it is none.
    pub fn of_file(file: &str) -> Result<Self, Wrong> {
        let (index, base) = file.split_once('-').ok_or_else(|| Wrong(file.chars().take(80).collect()))?;
        Self::new(index, base)
    }

    /// Whether `called` means it: its name, with or without its index.
    #[must_use]
    pub fn is(&self, called: &str) -> bool {
        called == self.base
            || called.strip_prefix(self.index.as_str()).and_then(|rest| rest.strip_prefix('-'))
                == Some(self.base.as_str())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.index, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_others_are_refused() {
        let name = Name::of_file("10-device-injector").expect("a name");
        assert_eq!((name.index.as_str(), name.base.as_str()), ("10", "device-injector"));
        assert_eq!(name.to_string(), "10-device-injector");
        for wrong in ["", "logger", "1-logger", "100-logger", "aa-logger", "10-", "10-a/b", "10-a b", "+1-a"]
        {
            assert!(Name::of_file(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plugin_is_meant_with_and_without_its_index() {
        let name = Name::of_file("10-a-b").expect("a name");
        assert!(name.is("a-b") && name.is("10-a-b"));
        assert!(!name.is("b") && !name.is("20-a-b") && !name.is("10a-b") && !name.is(""));
    }
}
