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
use crate::memory::human;

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

    /// Cuts the file at `offset`, or at its end, and goes on from there. `whole` gives the end of the last whole record
    /// among the first bytes, however many are asked for. A file that is not what the checkpoint recorded is kept as far as
    /// it is whole, and what there is to say about it comes back.
    fn resume(
        path: &Path,
        offset: Option<u64>,
        whole: impl Fn(&File, u64) -> io::Result<u64>,
    ) -> Result<(Self, Option<String>)> {
        let name = path.display();
        let lost = "the run goes on, and its chart lacks what was there";
        let length = match path.metadata() {
            Ok(data) if data.is_file() => data.len(),
            Ok(_) => {
                let error =
                    Error::input(format!("{name}: found a directory, a pipe or a device, expected a file"));
                return Err(error.hint("move it out of the run"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let note = offset.filter(|offset| *offset > 0).map(|_| format!("{name} is gone: {lost}"));
                return Ok((Self::create(path)?, note));
            }
            Err(error) => return Err(read_error(path, error)),
        };
        let file =
            OpenOptions::new().read(true).write(true).open(path).map_err(|error| write_error(path, error))?;
        let asked = offset.unwrap_or(length);
        let end = whole(&file, asked.min(length)).map_err(|error| read_error(path, error))?;
        let note = match offset {
            Some(offset) if length < offset => Some(format!(
                "{name} has {}, the checkpoint recorded {}: {lost}",
                human(length),
                human(offset)
            )),
            Some(offset) if end < offset => {
                Some(format!("{name} has other lines than the checkpoint recorded: {lost}"))
            }
            _ => None,
        };
        let mut log = Self { file, path: path.to_owned(), offset: end };
        log.cut().map_err(|error| write_error(path, error))?;
        Ok((log, note))
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
