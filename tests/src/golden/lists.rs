//! The committed lists of what may fail: `later.txt` and `known_gaps.txt`.

use crate::{Error, io};
use std::path::Path;

/// Names and globs (`*` stands for any text) of `suite/name`, one a line; `#` begins a comment.
#[derive(Debug, Default)]
pub struct Exceptions {
    patterns: Vec<String>,
}

impl Exceptions {
    /// Reads a list.
    ///
    /// # Errors
    /// [`Error::Io`] when the file can't be read.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(io(path.display().to_string()))?;
        Ok(Self::parse(&text))
    }

    /// Reads the text of a list.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        Self {
            patterns: lines
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Whether the list holds a name.
    #[must_use]
    pub fn hold(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern, name))
    }
}

/// Whether a glob stands for a name; `*` is any text.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(first) else {
        return false;
    };
    (0..=name.len())
        .filter(|at| name.is_char_boundary(*at))
        .any(|at| matches(rest, &name[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/*", "a/bc", true),
            ("*nexus*", "probes/x/y_nexus_z", true),
            ("*nexus*", "probes/x/y_nex_z", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn comments_are_no_entries() {
        let list = Exceptions::parse("# all\n\nhistories/a # why\nprobes/*\n");
        assert!(list.hold("histories/a"));
        assert!(list.hold("probes/x/y"));
        assert!(!list.hold("histories/b"));
    }
}
