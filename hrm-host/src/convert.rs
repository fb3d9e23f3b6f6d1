//! How the errors of the library's parts become the program's: bad files are bad input, a failing backend is a
//! failure.

use std::fmt::Display;
use std::io;

use crate::backend;
use crate::data;
use crate::error::Error;
use crate::model_dir::ModelError;
use crate::tensor_file::{Kind, TensorFileError};

impl Error {
    /// A failure of a backend.
    pub fn backend(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::failed(backend::failure(&error)).with_source(error)
    }
}

/// Whether trouble with a file is the caller's (there is no such file, or it is something else) or the machine's.
fn io_error(error: &io::Error, message: impl Display) -> Error {
    match error.kind() {
        _ if data::error::is_bad_path(error) => Error::input(message.to_string()),
        io::ErrorKind::StorageFull => Error::failed(message.to_string())
            .hint("free some space on that disk; what was there before is untouched"),
        _ => Error::failed(message.to_string()),
    }
}

impl From<TensorFileError> for Error {
    fn from(error: TensorFileError) -> Self {
        match &error.kind {
            Kind::Io(io) => io_error(io, &error),
            Kind::Foreign(foreign) => Self::input(error.to_string()).hint(foreign.hint),
            _ => Self::input(error.to_string()),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<ModelError<E>> for Error {
    fn from(error: ModelError<E>) -> Self {
        match error {
            ModelError::Weights(error) => error.into(),
            ModelError::Backend(error) => Self::backend(error),
            ModelError::Io(_, ref io) => io_error(io, &error),
            ModelError::NotAModel(..) | ModelError::Config(..) | ModelError::Mismatch(..) => {
                Self::input(error.to_string())
            }
        }
    }
}

impl From<data::Error> for Error {
    fn from(error: data::Error) -> Self {
        match &error {
            data::Error::Io { source, .. } => io_error(source, &error),
            data::Error::Interrupted => Self::interrupted(error.to_string()),
            _ => Self::input(error.to_string()),
        }
    }
}
