//! Writes `identifiers.json`, the names of the puzzle identifiers, as a stream.

use super::error::{Error, Result};
use crate::files::{self, Ours, Staged, Writers};
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::Path;

/// The list of names being written. Identifier 0, of padding rows, is there from the start.
#[derive(Debug)]
pub struct IdentifierWriter {
    file: BufWriter<Staged>,
    count: i32,
}

/// What is being done when the disk refuses.
const WRITE: &str = "write the identifiers";

impl IdentifierWriter {
    /// Starts the list of the dataset in the directory `dir`.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn create(dir: &Path) -> Result<Self> {
        let owns = |name: &str| (name == "identifiers.json").then_some(Ours::File);
        files::try_remove_stale(dir, &owns, Writers::Anyone)
            .map_err(|(path, source)| Error::io(&path, "remove what is unfinished")(source))?;
        let path = dir.join("identifiers.json");
        let staged = Staged::create(&path).map_err(Error::io(&path, "create a file beside it"))?;
        let mut file = BufWriter::new(staged);
        file.write_all(b"[\"<blank>\"").map_err(Error::io(&path, WRITE))?;
        Ok(Self { file, count: 1 })
    }

    /// Adds a name and gives its identifier.
    ///
    /// # Errors
    /// [`Error::Argument`] beyond `i32::MAX` identifiers, [`Error::Io`] if the disk refuses.
    pub fn push(&mut self, name: &str) -> Result<i32> {
        let identifier = self.count;
        self.count = identifier
            .checked_add(1)
            .ok_or_else(|| Error::argument("puzzle identifiers", "more", format!("at most {}", i32::MAX)))?;
        write!(self.file, ", {}", serde_json::Value::from(name))
            .map_err(Error::io(self.file.get_ref().target(), WRITE))?;
        Ok(identifier)
    }

    /// Ends the list and puts it on the disk, not yet under its name. Gives the number of identifiers too.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk refuses.
    pub fn stage(self) -> Result<(Staged, u32)> {
        let Self { mut file, count } = self;
        let path = file.get_ref().target().to_owned();
        file.write_all(b"]").map_err(Error::io(&path, WRITE))?;
        let staged =
            file.into_inner().map_err(IntoInnerError::into_error).map_err(Error::io(&path, WRITE))?;
        staged.sync().map_err(Error::io(&path, "synchronise the file"))?;
        Ok((staged, count.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_numbered_from_one_and_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut names = IdentifierWriter::create(dir.path()).unwrap();
        assert_eq!((names.push("a").unwrap(), names.push("\"b\"\n").unwrap()), (1, 2));
        let (staged, count) = names.stage().unwrap();
        assert_eq!((count, fs::read_dir(dir.path()).unwrap().count()), (3, 1));
        staged.commit().unwrap();
        let text = fs::read_to_string(dir.path().join("identifiers.json")).unwrap();
        assert_eq!(text, r#"["<blank>", "a", "\"b\"\n"]"#);
    }
}
