//! What can be wrong with data: which file, where in it, which field, what was found and what was expected.

use std::error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of reading or writing data.
pub type Result<T> = core::result::Result<T, Error>;

/// Where in a file the trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole, or its header.
    File,
    /// A line of a text file, counted from 1; the header is line 1.
    Line(u64),
    /// A row of an array, counted from 0.
    Row(u64),
}

/// An error of the data modules.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as in "cannot {action}".
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A file was read and does not hold what it should.
    Format {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: Place,
        /// The field, key or column.
        field: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The caller asked for something that cannot be done.
    Argument {
        /// The argument's name; of what a flag of the program says, that flag.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// The caller asked for an end before all was done.
    Interrupted,
    /// The thread that makes batches cannot be started, or has ended.
    Thread(io::Error),
}

impl Error {
    /// An [`Error::Io`] at `path`; for use with `map_err`.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }

    /// An [`Error::Format`].
    pub(crate) fn format(
        path: &Path,
        place: Place,
        field: &str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self::Format {
            path: path.to_owned(),
            place,
            field: field.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// An [`Error::Argument`].
    pub(crate) fn argument(
        name: &'static str,
        found: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self::Argument { name, found: found.to_string(), expected: expected.to_string() }
    }

    /// Whether the input or the arguments are at fault, rather than the machine.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_bad_path(source),
            Self::Format { .. } | Self::Argument { .. } => true,
            Self::Interrupted => false,
            Self::Thread(_) => false,
        }
    }
}

/// Whether a path was wrong, or what lies there is not the kind of file that was expected, rather than the disk.
pub(crate) fn is_bad_path(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::NotFound
            | E::NotADirectory
            | E::IsADirectory
            | E::PermissionDenied
            | E::InvalidInput
            | E::InvalidData
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, source } => write!(f, "{}: cannot {action}: {source}", path.display()),
            Self::Format { path, place, field, found, expected } => {
                write!(f, "{}", path.display())?;
                match place {
                    Place::File => {}
                    Place::Line(line) => write!(f, ", line {line}")?,
                    Place::Row(row) => write!(f, ", row {row}")?,
                }
                write!(f, ", {field}: found {found}, expected {expected}")
            }
            Self::Argument { name, found, expected } => {
                write!(f, "{name}: found {found}, expected {expected}")
            }
            Self::Interrupted => f.write_str("interrupted; nothing was changed"),
            Self::Thread(source) => write!(f, "the thread that makes batches: {source}"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Thread(source) => Some(source),
            Self::Format { .. } | Self::Argument { .. } | Self::Interrupted => None,
        }
    }
}
