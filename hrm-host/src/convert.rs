//! How the errors of the library's parts become the program's: bad files are bad input, a failing backend is a
//! failure.

use std::io;

use crate::backend;
use crate::data;
use crate::error::{Error, Kind};
use crate::files;
use crate::model_dir::ModelError;
use crate::tensor_file::{self, TensorFileError};

impl Error {
    /// A failure of a backend.
    pub fn backend(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::failed(backend::failure(&error)).with_source(error)
    }
}

/// Trouble with a file: whether it is the caller's (there is no such file, or it is something else) or the machine's, and
/// what to do about it.
fn io_error(error: io::Error, message: String) -> Error {
    let bad_path = data::error::is_bad_path(&error);
    let explained = files::explained(message, error);
    if bad_path { explained.of_kind(Kind::Input) } else { explained }
}

impl From<TensorFileError> for Error {
    fn from(error: TensorFileError) -> Self {
        let message = error.to_string();
        match error.kind {
            tensor_file::Kind::Io(io) => io_error(io, message),
            tensor_file::Kind::Foreign(foreign) => Self::input(message).hint(foreign.hint),
            _ => Self::input(message),
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<ModelError<E>> for Error {
    fn from(error: ModelError<E>) -> Self {
        let message = error.to_string();
        match error {
            ModelError::Weights(error) => error.into(),
            ModelError::Backend(error) => Self::backend(error),
            ModelError::Io(_, io) => io_error(io, message),
            ModelError::NotAModel(..) | ModelError::Config(..) | ModelError::Mismatch(..) => {
                Self::input(message)
            }
        }
    }
}

impl From<data::Error> for Error {
    fn from(error: data::Error) -> Self {
        let message = error.to_string();
        match error {
            data::Error::Io { source, .. } => io_error(source, message),
            data::Error::Interrupted => Self::interrupted(message),
            data::Error::Thread(source) => Self::failed(message).with_source(source),
            _ => Self::input(message),
        }
    }
}
