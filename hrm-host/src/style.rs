//! Colour, only where a person sees it: on a terminal, with `NO_COLOR` unset, unless `--color` says otherwise.
//!
//! Text is always written with its styles; [`stdout`] and [`stderr`] take them out where they do not belong.
//!
//! ```
//! use hrm_host::style::{self, STRONG};
//! use std::io::Write;
//! writeln!(style::stdout(), "{STRONG}solved{STRONG:#} in 3 steps")?;
//! # Ok::<(), std::io::Error>(())
//! ```

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// The word `error:`.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word `warning:`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// The word `hint:`.
pub const HINT: Style = AnsiColor::Cyan.on_default().bold();
/// Headings and results.
pub const STRONG: Style = Style::new().bold();
/// What is there but not the point: units, rules, given digits.
pub const FAINT: Style = Style::new().dimmed();
/// Right, passed, newly solved.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Wrong, missed, contradicting.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Changed since the step before.
pub const CHANGED: Style = AnsiColor::Yellow.on_default();

/// When to use colour: the value of `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal that understands it, and not when `NO_COLOR` is set
    #[default]
    Auto,
    /// Always, even into a file
    Always,
    /// Never
    Never,
}

impl Color {
    /// Makes this the choice of the whole program, [`stdout`] and [`stderr`] included.
    pub fn apply(self) {
        self.choice().write_global();
    }

    fn choice(self) -> ColorChoice {
        match self {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
    }
}

/// Standard output, with styles where they belong. Writes can fail on a closed pipe:
/// see [`Error::output`](crate::error::Error::output).
pub fn stdout() -> AutoStream<std::io::Stdout> {
    anstream::stdout()
}

/// Standard error, with styles where they belong.
pub fn stderr() -> AutoStream<std::io::Stderr> {
    anstream::stderr()
}

/// Columns of the terminal at standard output; elsewhere those that `COLUMNS` gives, or 80.
#[must_use]
pub fn columns() -> usize {
    let given = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    terminal.filter(|columns| *columns > 0).or_else(given).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn written(color: Color) -> String {
        let mut stream = AutoStream::new(Vec::new(), color.choice());
        write!(stream, "{ERROR}error:{ERROR:#} x").unwrap();
        String::from_utf8(stream.into_inner()).unwrap()
    }

    #[test]
    fn styles_are_kept_or_taken_out_as_asked() {
        assert_eq!(written(Color::Never), "error: x");
        assert_eq!(written(Color::Always), "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x");
    }

    #[test]
    fn a_file_is_no_terminal() {
        assert_eq!(AutoStream::choice(&tempfile::tempfile().unwrap()), ColorChoice::Never);
    }
}
