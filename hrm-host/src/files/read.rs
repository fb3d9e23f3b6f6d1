//! Reading whole files: never more than the reader can use, and never from something that is not a file.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{CountingWriter, Written, read_error};
use crate::data::plain;
use crate::error::{Error, Result};
use crate::memory::human;

/// The largest file that is read into memory whole where the reader has no bound of its own.
const LARGEST: u64 = 4 << 30;

/// Opens what is to be a file. A directory, a socket or a named pipe is refused before it is opened: a pipe that nobody
/// writes into would be waited for without end. What a shell puts in a file's place (`<(..)`, `/dev/stdin`) is taken.
///
/// # Errors
/// It is not there, may not be read, or is no file.
pub fn open(path: &Path) -> Result<File> {
    try_open(path).map_err(|error| read_error(path, error))
}

/// [`open`] with the system's own error.
pub(crate) fn try_open(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() && !path.starts_with("/dev") && !path.starts_with("/proc") {
        let message = "it is a named pipe, a socket or a device, expected a file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    File::open(path)
}

/// As [`try_open`], of a file that is read more than once: no pipe is taken, which would be empty the second time.
pub(crate) fn try_open_again(path: &Path) -> io::Result<File> {
    let kind = path.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let message = "it is a pipe or a device, expected a file: it is read more than once";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    try_open(path)
}

/// Reads a whole file of at most `most` bytes. A longer one is refused by its length, before it is read.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata().map_err(|error| read_error(path, error))?.len();
    let too_long = |length: &str| {
        Error::input(format!("{}: {length}, expected at most {}", path.display(), human(most)))
            .hint("check the path: this is not a file of the kind that is read here")
    };
    if length > most {
        return Err(too_long(&format!("it has {}", human(length))));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length as usize).map_err(|_| {
        let message = format!("cannot read {}: its {} do not fit in memory", path.display(), human(length));
        Error::failed(message).hint("free some memory, or raise the limit (ulimit -v, the container's)")
    })?;
    // A file that grows, or a device, whose length says nothing.
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| read_error(path, error))?;
    if bytes.len() as u64 > most { Err(too_long("it is longer")) } else { Ok(bytes) }
}

/// Reads a whole file.
///
/// # Errors
/// It cannot be read, or is far larger than any that this program works with.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, LARGEST)
}

/// Reads a whole file of at most `most` bytes as UTF-8 text, without the byte order mark that some editors write.
///
/// # Errors
/// As [`read_at_most`], or it is no text.
pub fn text_at_most(path: &Path, most: u64) -> Result<String> {
    plain::decode(read_at_most(path, most)?)
        .map_err(|found| Error::input(format!("{}: {found}, expected UTF-8 text", path.display())))
}

/// [`text_at_most`] with the system's own error.
pub(crate) fn try_text_at_most(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    try_open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 <= most {
        return Ok(text);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is longer than {}", human(most))))
}

/// Reads a whole file as UTF-8 text.
///
/// # Errors
/// As [`read`], or it is no text.
pub fn read_to_string(path: &Path) -> Result<String> {
    text_at_most(path, LARGEST)
}

/// Size and CRC-32 of a file on the disk.
///
/// # Errors
/// It cannot be read.
pub fn checksum(path: &Path) -> Result<Written> {
    let mut file = fs::File::open(path).map_err(|error| read_error(path, error))?;
    let mut sink = CountingWriter::new(io::sink());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(sink.written()),
            Ok(n) => sink.write_all(&buffer[..n]).map_err(|error| read_error(path, error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_the_bound_is_refused_by_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        // Sparse: nothing of it is on the disk, and reading it would take minutes.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let error = read_at_most(&path, 1 << 20).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().ends_with("a: it has 1.0 TiB, expected at most 1.0 MiB"), "{error}");
        assert_eq!(read(&path).unwrap_err().exit_code(), 2);
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_at_most(&path, 3).unwrap(), b"abc");
        assert!(read_at_most(&path, 2).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_an_end_and_a_pipe_without_a_writer_are_refused() {
        let error = read_at_most(Path::new("/dev/zero"), 100).unwrap_err();
        assert!(error.to_string().contains("it is longer, expected at most 100 B"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = read(&pipe).unwrap_err();
        assert!(error.to_string().contains("it is a named pipe"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(read(dir.path()).unwrap_err().exit_code(), 2);
        for pipe in [&pipe, Path::new("/dev/zero")] {
            let error = try_open_again(pipe).unwrap_err().to_string();
            assert!(error.contains("it is read more than once"), "{error}");
        }
        assert!(try_open_again(&std::env::current_exe().unwrap()).is_ok());
    }
}
