//! Files that are written whole or not at all, checksums, and errors that say what to do.
//!
//! A file is written beside its target as `NAME.tmp-PID`, flushed to the disk, renamed over the target, and the
//! directory is flushed: after a kill or a power cut the target is the old file or the new one, never a mixture.
//! A directory is written the same way, as a whole. What a killed process leaves behind is removed by
//! [`remove_stale`].

mod leftover;
mod lock;
mod read;
mod staged;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use leftover::{REPLACED, TEMPORARY, beside};

pub(crate) use leftover::try_remove_stale;
pub use leftover::{Ours, Owns, Writers, is_leftover, moved_aside, put_back, remove_stale};
pub use lock::{Asked, DirLock, LOCK};
pub use read::{checksum, open, read, read_at_most, read_to_string, text_at_most};
pub(crate) use read::{try_open, try_open_again, try_text_at_most};
pub use staged::Staged;

/// Size and checksum of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32 (IEEE 802.3) of the whole content.
    pub crc32: u32,
}

/// Counts and checksums what passes through to the writer inside.
#[derive(Debug)]
pub struct CountingWriter<W> {
    inner: W,
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl<W: Write> CountingWriter<W> {
    /// Starts at 0 bytes, whatever `inner` already holds.
    pub fn new(inner: W) -> Self {
        Self { inner, bytes: 0, crc: crc32fast::Hasher::new() }
    }

    /// What has passed so far.
    pub fn written(&self) -> Written {
        Written { bytes: self.bytes, crc32: self.crc.clone().finalize() }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for CountingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(buffer)?;
        self.crc.update(&buffer[..taken]);
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Creates a directory and those of its parents that are missing, each on the disk before anything is written in it.
pub fn create_dir_all(path: &Path) -> Result<()> {
    make_dirs(path).map_err(|error| write_error(path, error))
}

fn make_dirs(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
    let made: Vec<&Path> = missing.collect();
    fs::create_dir_all(path)?;
    made.into_iter().rev().try_for_each(sync_parent)
}

/// Refuses a file that could not be written in the end, before any work is done for it.
///
/// # Errors
/// Its directory is not there or cannot be written to, or a directory lies in its place.
pub fn expect_place(path: &Path) -> Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        let message = format!("cannot write {}: there is no directory {}", path.display(), dir.display());
        return Err(Error::input(message).hint(format!("make it first: mkdir -p {}", dir.display())));
    }
    if path.is_dir() {
        return Err(write_error(path, io::ErrorKind::IsADirectory.into()));
    }
    Staged::create(path).map(drop).map_err(|error| write_error(path, error))
}

/// Writes `path` whole or not at all; what was there before stays until the new file is on the disk.
///
/// `fill` gets a buffered writer. One process has one writer of a path at a time.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Written> {
    let write = || {
        let mut staged = Staged::create(path)?;
        let written = fill_counted(&mut staged, fill)?;
        staged.commit()?;
        Ok(written)
    };
    write().map_err(|error| write_error(path, error))
}

/// [`write_file`] for bytes at hand.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<Written> {
    write_file(path, |out| out.write_all(bytes))
}

/// What to do with a directory that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// An empty one is filled; anything else is an error, and nothing is touched.
    Refuse,
    /// The new directory takes its place.
    Replace,
}

/// A directory that is being written and not yet in its place.
#[derive(Debug)]
pub struct Staging {
    temporary: PathBuf,
    target: PathBuf,
}

impl Staging {
    /// Where the files lie until the directory is complete.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Writes the file `name`, such as `config.json` or `train/dataset.json`, and flushes it to the disk.
    pub fn file(&self, name: &str, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Written> {
        let path = self.temporary.join(name);
        path.parent()
            .map_or(Ok(()), make_dirs)
            .and_then(|()| write_synced(&path, fill))
            .map_err(|error| write_error(&self.target.join(name), error))
    }
}

/// Writes a directory whole or not at all: `fill` writes into `DIR.tmp-PID`, which then takes the name `DIR`.
///
/// A replaced directory is for an instant `DIR.old-PID`; [`remove_stale`] puts it back if the process dies there.
pub fn write_dir<T>(dir: &Path, existing: Existing, fill: impl FnOnce(&Staging) -> Result<T>) -> Result<T> {
    let pid = std::process::id();
    let beside = |mark| beside(dir, mark, pid).map_err(|error| write_error(dir, error));
    let staging = Staging { temporary: beside(TEMPORARY)?, target: dir.to_owned() };
    if existing == Existing::Refuse && !is_absent_or_empty(dir)? {
        return Err(Error::input(format!("{} exists and is not empty", dir.display()))
            .hint("name another directory, or remove this one first"));
    }
    remove(&staging.temporary).map_err(|error| write_error(&staging.temporary, error))?;
    let filled = make_dirs(&staging.temporary)
        .map_err(|error| write_error(dir, error))
        .and_then(|()| fill(&staging))
        .and_then(|value| {
            put_in_place(&staging.temporary, dir, &beside(REPLACED)?)
                .map_err(|error| write_error(dir, error))?;
            Ok(value)
        });
    if filled.is_err() {
        // The first error is the one to report.
        let _ = remove(&staging.temporary);
    }
    filled
}

fn put_in_place(temporary: &Path, dir: &Path, old: &Path) -> io::Result<()> {
    sync_tree(temporary)?;
    let replacing = dir.symlink_metadata().is_ok();
    if replacing {
        remove(old)?;
        fs::rename(dir, old)?;
        sync_parent(dir)?;
    }
    if let Err(error) = fs::rename(temporary, dir) {
        if replacing {
            fs::rename(old, dir)?;
            sync_parent(dir)?;
        }
        return Err(error);
    }
    sync_parent(dir)?;
    if replacing { remove(old) } else { Ok(()) }
}

/// Removes a directory and all in it. A process that dies half-way leaves nothing under the directory's name, and
/// [`remove_stale`] removes the rest.
pub fn remove_dir(dir: &Path) -> Result<()> {
    let remove_whole = || {
        let doomed = beside(dir, TEMPORARY, std::process::id())?;
        remove(&doomed)?;
        fs::rename(dir, &doomed)?;
        sync_parent(dir)?;
        remove(&doomed)
    };
    remove_whole().map_err(|error| write_error(dir, error))
}

/// Why a read failed, as an error that names the file: exit code 2 where the path is at fault, 1 where the disk is.
pub fn read_error(path: &Path, error: io::Error) -> Error {
    describe("read", path, error)
}

/// Why a write failed, as an error that names the file and says what to do.
pub fn write_error(path: &Path, error: io::Error) -> Error {
    describe("write", path, error)
}

fn describe(verb: &str, path: &Path, error: io::Error) -> Error {
    explained(format!("cannot {verb} {}: {error}", path.display()), error)
}

/// `message` as an error of the kind that `error` is, with what to do about it: exit code 2 where the path is at fault, 1
/// where the machine is.
pub(crate) fn explained(message: String, error: io::Error) -> Error {
    use io::ErrorKind as E;
    let (kind, hint) = match error.kind() {
        E::NotFound => (Kind::Input, Some("check the path")),
        E::InvalidInput => (Kind::Input, None),
        E::PermissionDenied => (Kind::Input, Some("check who owns it and its permissions")),
        E::IsADirectory => (Kind::Input, Some("name a file, not a directory")),
        E::NotADirectory => (Kind::Input, Some("a part of the path is a file, expected a directory")),
        E::ReadOnlyFilesystem => (Kind::Input, Some("choose a place that can be written to")),
        E::StorageFull | E::QuotaExceeded => {
            (Kind::Failed, Some("make room or choose another disk; the file written before is unchanged"))
        }
        E::FileTooLarge => (Kind::Failed, Some("raise the limit on file sizes (ulimit -f)")),
        E::OutOfMemory => {
            (Kind::Failed, Some("free some memory, or raise the limit (ulimit -v, the container's)"))
        }
        _ if error.raw_os_error() == Some(EIO) && cfg!(unix) => (
            Kind::Failed,
            Some("the disk or the network failed; nothing is wrong with what was written before"),
        ),
        _ => (Kind::Failed, None),
    };
    let described = Error::new(kind, message).with_source(error);
    match hint {
        Some(hint) => described.hint(hint),
        None => described,
    }
}

/// Input/output error, the same number on every Unix.
const EIO: i32 = 5;

/// Writes `path` in place and flushes it to the disk: for files in a directory that is not yet in its place.
pub(crate) fn write_synced(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Written> {
    let mut file = File::create(path)?;
    let written = fill_counted(&mut file, fill)?;
    file.sync_all()?;
    Ok(written)
}

fn fill_counted(
    file: &mut impl Write,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Written> {
    let mut out = BufWriter::with_capacity(256 << 10, CountingWriter::new(file));
    fill(&mut out)?;
    out.flush()?;
    Ok(out.get_ref().written())
}

/// Flushes the names in every directory of the tree; the files in it are flushed already.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync_dir(dir)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Only Unix lets a directory be opened and flushed.
#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

fn is_absent_or_empty(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(write_error(dir, error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests;
