//! JSON lines: one object per line, appended.
//!
//! Numbers are written with the fewest digits that read back as the same bits; NaN and the infinities, which JSON does
//! not have, as `null`. The same records give the same bytes.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Log;
use crate::error::{Error, Result};
use crate::files::read_error;

/// One value of a record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// A count, a step, a seed.
    Int(u64),
    /// A measurement in single precision, written as such: `0.1`, not `0.10000000149011612`.
    F32(f32),
    /// A measurement.
    F64(f64),
    /// A flag.
    Bool(bool),
    /// A name.
    Text(&'a str),
}

/// Named values in the order in which they are written.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a>(pub &'a [(&'a str, Value<'a>)]);

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Appends records to a file.
#[derive(Debug)]
pub struct Writer {
    log: Log,
}

impl Writer {
    /// An empty file, whatever was there before.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { log: Log::create(path)? })
    }

    /// Cuts the file at `offset` bytes, as recorded in a checkpoint, and appends from there. A file shorter than that is
    /// an error.
    pub fn open_at(path: &Path, offset: u64) -> Result<Self> {
        Ok(Self { log: Log::open_at(path, offset)? })
    }

    /// Appends one record, a [`Record`] or any serialisable struct, as one line in one write.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).map_err(|error| {
            Error::failed(format!("{}: a record is no JSON: {error}", self.log.path.display()))
        })?;
        line.push(b'\n');
        self.log.append(&line)
    }

    /// Length of the file in bytes.
    pub fn offset(&self) -> u64 {
        self.log.offset
    }

    /// Flushes to the disk and returns the offset for the checkpoint.
    pub fn sync(&mut self) -> Result<u64> {
        self.log.sync()
    }
}

/// Reads a file of records back. An unfinished last line, which a killed run leaves, is passed over.
pub fn read(path: &Path) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    let file = std::fs::File::open(path).map_err(|error| read_error(path, error))?;
    let mut reader = BufReader::new(file);
    let mut records = Vec::new();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(|error| read_error(path, error))?;
        if line.last() != Some(&b'\n') {
            break;
        }
        records.push(serde_json::from_slice(&line).map_err(|error| {
            Error::input(format!("{}: line {number}: expected a JSON object: {error}", path.display()))
        })?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn step(writer: &mut Writer, step: u64) {
        let loss = 1.0 / (step as f64 + 1.0);
        writer.append(&Record(&[("step", Value::Int(step)), ("train/loss", Value::F64(loss))])).unwrap();
    }

    #[test]
    fn numbers_are_shortest_and_what_json_lacks_is_null() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let mut writer = Writer::create(&path).unwrap();
        let record = Record(&[
            ("step", Value::Int(u64::MAX)),
            ("lr", Value::F32(0.1)),
            ("loss", Value::F64(0.1 + 0.2)),
            ("nan", Value::F32(f32::NAN)),
            ("inf", Value::F64(f64::NEG_INFINITY)),
            ("best", Value::Bool(true)),
            ("split", Value::Text("te\"st")),
        ]);
        writer.append(&record).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":18446744073709551615,\"lr\":0.1,\"loss\":0.30000000000000004,\"nan\":null,\"inf\":null,\
             \"best\":true,\"split\":\"te\\\"st\"}\n"
        );
        assert_eq!(read(&path).unwrap()[0]["loss"].as_f64(), Some(0.1 + 0.2));
    }

    #[test]
    fn a_resumed_file_equals_an_uninterrupted_one() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.jsonl");
        let mut writer = Writer::create(&whole).unwrap();
        (0..20).for_each(|n| step(&mut writer, n));

        let resumed = dir.path().join("resumed.jsonl");
        let mut writer = Writer::create(&resumed).unwrap();
        (0..7).for_each(|n| step(&mut writer, n));
        let offset = writer.sync().unwrap();
        assert_eq!(offset, fs::metadata(&resumed).unwrap().len());
        (7..11).for_each(|n| step(&mut writer, n));
        drop(writer);
        fs::OpenOptions::new().append(true).open(&resumed).unwrap().write_all(b"{\"step\":1").unwrap();
        assert_eq!(read(&resumed).unwrap().len(), 11);

        let mut writer = Writer::open_at(&resumed, offset).unwrap();
        (7..20).for_each(|n| step(&mut writer, n));
        assert_eq!(fs::read(&resumed).unwrap(), fs::read(&whole).unwrap());
        assert_eq!(writer.offset(), fs::metadata(&whole).unwrap().len());
    }

    #[test]
    fn a_file_shorter_than_the_checkpoint_says_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "{}\n").unwrap();
        let error = Writer::open_at(&path, 4).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("given 3 bytes, expected the 4 bytes"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        fs::write(&path, "{}\n[1]\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut writer = Writer::create(Path::new("/dev/full")).unwrap();
        let error = writer.append(&Record(&[])).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().starts_with("cannot write /dev/full"), "{error}");
        assert_eq!(writer.offset(), 0);
    }

    use std::io::Write as _;
}
