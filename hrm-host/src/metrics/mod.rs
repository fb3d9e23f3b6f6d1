//! What a run reports about itself: JSON lines for programs, event files for TensorBoard, plots for people.
//!
//! Both log files are appended to at a known byte offset. A checkpoint records the offset; a resumed run cuts the file
//! there and goes on, so that no step appears twice. (A training run does so with its JSON lines; each of its sessions
//! writes an event file of its own.)

pub mod jsonl;
pub mod plot;
pub mod tensorboard;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{read_error, write_error};

/// A file that is appended to, one whole record per write, with its length known.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    offset: u64,
}

impl Log {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| write_error(path, error))?;
        Ok(Self { file, path: path.to_owned(), offset: 0 })
    }

    /// Cuts the file at `offset` and goes on from there.
    fn open_at(path: &Path, offset: u64) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(path).map_err(|error| write_error(path, error))?;
        let length = file.metadata().map_err(|error| read_error(path, error))?.len();
        if length < offset {
            return Err(Error::input(format!(
                "{}: given {length} bytes, expected the {offset} bytes that the checkpoint recorded",
                path.display()
            ))
            .hint("the file was cut or replaced since; restore it, or start a new run"));
        }
        let mut log = Self { file, path: path.to_owned(), offset };
        log.cut().map_err(|error| write_error(path, error))?;
        Ok(log)
    }

    /// One write per record: a killed process leaves at most one record unfinished, at the end.
    fn append(&mut self, record: &[u8]) -> Result<()> {
        if let Err(error) = self.file.write_all(record) {
            // A record that did not fit must not stay in part; that the disk is full is the error to report.
            let _ = self.cut();
            return Err(write_error(&self.path, error));
        }
        self.offset += record.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.offset)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.offset)).map(|_| ())
    }

    fn sync(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(|error| write_error(&self.path, error))?;
        Ok(self.offset)
    }
}
