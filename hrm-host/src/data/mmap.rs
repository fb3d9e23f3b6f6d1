//! Memory-mapped files. This is the one module of the crate with an `unsafe` call.
#![allow(unsafe_code)]

use memmap2::Mmap;
use std::fs::File;
use std::io;

/// Maps the whole of `file`, read-only.
///
/// The mapping is of the file, not a copy: whoever truncates it in place while it is open here ends the process
/// with a bus error. Everything this crate writes is renamed into place, which leaves open mappings intact.
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
