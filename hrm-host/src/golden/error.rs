//! What can go wrong while golden files are read and a backend is run on them.

use std::fmt;
use std::path::PathBuf;

use hrm_core::plan::PlanError;

/// Why a comparison could not be made. A comparison that was made and failed is a
/// [`Check`](super::Check), not an error.
#[derive(Debug)]
pub enum Error {
    /// A file or directory cannot be read.
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what its name says: cut off, or malformed.
    Format {
        /// Which one.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// A directory without golden files.
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// A tensor or field that is missing, or has another type or shape than the model's configuration asks for.
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's or field's name.
        name: String,
        /// What is there.
        given: String,
        /// What should be there.
        expected: String,
    },
    /// A tensor without which nothing can be run.
    Missing {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// What should be there.
        expected: String,
    },
    /// A tensor that no comparison covers.
    Uncovered {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// The configuration has no plan.
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PlanError,
    },
    /// The backend failed.
    Backend {
        /// The file it was run on.
        path: PathBuf,
        /// What it says.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Format { path, message } => write!(f, "{}: {message}", path.display()),
            Self::Empty { path } => {
                write!(
                    f,
                    "{}: found no golden numbers, expected functions.json and functions.safetensors, and for each \
                     model NAME.config.json and its tensors",
                    path.display()
                )
            }
            Self::Tensor { path, name, given, expected } => {
                write!(f, "{}: {name} is {given}, expected {expected}", path.display())
            }
            Self::Missing { path, name, expected } => {
                write!(f, "{}: {name} is missing, expected {expected}", path.display())
            }
            Self::Uncovered { path, name } => {
                write!(f, "{}: {name} is a tensor that no comparison covers", path.display())
            }
            Self::Plan { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Backend { path, message } => write!(f, "{}: the backend failed: {message}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Plan { source, .. } => Some(source),
            _ => None,
        }
    }
}
