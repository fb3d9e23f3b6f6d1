//! Words that messages share: how many of what, and the program's own name.

use std::path::Path;

/// `1 puzzle`, `2 puzzles`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The program as it was started, so that a command that is shown can be typed where this one was.
pub fn program() -> String {
    std::env::args_os().next().map_or_else(|| "hrm".to_owned(), |name| shell_word(name.as_ref()))
}

/// A path as one word of a shell's command line, quoted where it must be.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "view")), ["0 views", "1 view", "2 views"]);
    }

    #[test]
    fn a_path_is_quoted_only_where_it_must_be() {
        assert_eq!(shell_word("runs/a-1".as_ref()), "runs/a-1");
        assert_eq!(shell_word("my runs/it's".as_ref()), r"'my runs/it'\''s'");
    }
}
