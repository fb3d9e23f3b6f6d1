//! The error of the program and of this library: what went wrong, where, what to do about it, and the
//! exit code that says so.
//!
//! Printed it reads
//!
//! ```text
//! error: while reading puzzles.csv: row 7: given 80 characters, expected 81
//!   hint: every row is `source,question,answer,rating`
//! ```

use std::fmt;
use std::io;

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that does not exist or contradicts itself. Exit code 2.
    Usage,
    /// A file or value that was given is missing, malformed or out of range. Exit code 2.
    Input,
    /// The input was good, the work failed: a full disk, a diverged run, a missed bound. Exit code 1.
    Failed,
    /// A signal asked the program to stop and it did so in good order. Exit code 130.
    Interrupted,
    /// The reader of standard output went away, as `head` does. Not a failure: exit code 0, no message.
    OutputClosed,
}

/// What went wrong, with its context, and a hint where there is something to do about it.
///
/// Boxed inside, so that a `Result<T, Error>` stays one word wider than `T` at most.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    /// Innermost first.
    context: Vec<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind; the message says what was given and what was expected.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), hint: None, source: None }))
    }

    /// The command line is wrong: [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file or a value that was given is wrong: [`Kind::Input`].
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// The work itself failed: [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A signal stopped the work: [`Kind::Interrupted`].
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// A write to standard output failed. A closed pipe is success, anything else a failure.
    pub fn output(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::OutputClosed,
            _ => Kind::Failed,
        };
        Self::new(kind, format!("cannot write to standard output: {error}")).with_source(error)
    }

    /// Adds what to do about it; the last hint wins.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds what was being done, as a participle: `"reading model/config.json"`.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.0.context.push(doing.into());
        self
    }

    /// Keeps the error that caused this one, for [`std::error::Error::source`].
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same error, of another kind.
    #[must_use]
    pub(crate) fn of_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The error of type `T` that caused this one, if there is one.
    pub fn cause<T: std::error::Error + 'static>(&self) -> Option<&T> {
        self.0.source.as_ref()?.downcast_ref()
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to do about it, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The exit code of a program that ends with this error: 0, 1, 2 or 130.
    pub fn exit_code(&self) -> u8 {
        match self.0.kind {
            Kind::OutputClosed => 0,
            Kind::Failed => 1,
            Kind::Usage | Kind::Input => 2,
            Kind::Interrupted => 130,
        }
    }

    /// Writes `error: …` and, where there is one, `  hint: …`, each on a line of its own.
    ///
    /// An interrupted run prints only its message, a closed output nothing.
    pub fn report(&self, out: &mut dyn io::Write) -> io::Result<()> {
        use crate::style::{ERROR, HINT};
        match self.0.kind {
            Kind::OutputClosed => return Ok(()),
            Kind::Interrupted => writeln!(out, "{self}")?,
            Kind::Usage | Kind::Input | Kind::Failed => writeln!(out, "{ERROR}error:{ERROR:#} {self}")?,
        }
        if let Some(hint) = &self.0.hint {
            writeln!(out, "  {HINT}hint:{HINT:#} {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, doing) in self.0.context.iter().rev().enumerate() {
            write!(f, "{}{doing}: ", if depth == 0 { "while " } else { "" })?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Adds context to a result on its way up.
pub trait Context<T> {
    /// Says what was being done when it failed; `doing` runs only on failure.
    fn during<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn during<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(error: &Error) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        error.report(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn context_reads_from_the_outside_in() {
        let failed: Result<()> = Err(Error::input("given 80 characters, expected 81").hint("count again"));
        let error = failed.during(|| "row 7").during(|| "reading puzzles.csv").unwrap_err();
        assert_eq!(
            report(&error),
            "error: while reading puzzles.csv: row 7: given 80 characters, expected 81\n  hint: count again\n"
        );
    }

    #[test]
    fn exit_codes_follow_the_kind() {
        for (error, code) in [
            (Error::usage("a"), 2),
            (Error::input("a"), 2),
            (Error::failed("a"), 1),
            (Error::interrupted("a"), 130),
        ] {
            assert_eq!(error.exit_code(), code);
            assert!(!report(&error).is_empty());
        }
    }

    #[test]
    fn a_closed_pipe_is_silent_success_and_a_full_disk_is_not() {
        let closed = Error::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.exit_code(), report(&closed)), (0, String::new()));
        let full = Error::output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), 1);
        assert!(report(&full).starts_with("error: cannot write to standard output"));
    }

    #[test]
    fn the_cause_is_kept() {
        let error = Error::failed("a").with_source(io::Error::from(io::ErrorKind::StorageFull));
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
