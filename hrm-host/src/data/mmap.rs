//! Memory-mapped files. This is the one module of the crate with an `unsafe` call.
#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// Maps the whole of `file`, read-only.
///
/// The mapping is of the file, not a copy: whoever truncates it in place while it is open here ends the process
/// with a bus error, which [`explain_bus_errors`] puts into words. Everything this crate writes is renamed into place,
/// which leaves open mappings intact.
///
/// # Errors
/// The operating system's, for instance when `file` is not a regular file.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only, and the contract of `Mmap::map` is that nobody modifies the file in place
    // while it is mapped. That is the documented condition of a dataset directory; this crate keeps it by renaming
    // new files into place. The bytes are read only as plain integers, for which every bit pattern is valid, and
    // every value is range-checked where it is used, so a broken promise gives wrong numbers or an error.
    unsafe { Mmap::map(file) }
}

/// From here on a bus error ends the program with exit code 1 and a line on standard error that says why, rather than by
/// the signal. For the program, not for libraries: the signal is the whole process's.
///
/// # Errors
/// The system refuses.
#[cfg(unix)]
pub fn explain_bus_errors() -> io::Result<()> {
    use std::io::Write;
    use std::os::fd::AsFd;

    const WHY: &[u8] = b"error: a file was cut short while it was read: part of a mapped dataset or model is gone\n  \
        hint: write such files anew beside the old one and rename them, as `hrm data` does; or the disk failed\n";
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let explain = move || {
        // One system call; there is nobody left to tell if it fails.
        let _ = (&stderr).write_all(WHY);
        signal_hook::low_level::exit(1);
    };
    // SAFETY: the action calls write(2) on a descriptor of its own and _exit(2), both of which are safe in a signal
    // handler; it takes no lock, allocates nothing and does not panic.
    unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, explain) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn maps_what_was_written_and_empty_files() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(map(&file).unwrap().len(), 0);
        file.write_all(b"abc").unwrap();
        assert_eq!(&map(&file).unwrap()[..], b"abc");
    }
}
