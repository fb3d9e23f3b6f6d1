//! JSON lines: one object per line, appended.
//!
//! Numbers are written with the fewest digits that read back as the same bits; NaN and the infinities, which JSON does
//! not have, as `null`. The same records give the same bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::Log;
use crate::error::{Error, Result};
use crate::files::{self, read_error};

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

    /// Cuts the file at `offset` bytes, as recorded in a checkpoint, or at its end, and appends from there. Lines that have
    /// gone missing do not keep a run from going on: what is there is kept up to the last whole line, and what is to be
    /// said about it comes back.
    pub fn resume(path: &Path, offset: Option<u64>) -> Result<(Self, Option<String>)> {
        let (log, note) = Log::resume(path, offset, line_end)?;
        Ok((Self { log }, note))
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

/// The end of the last whole line among the first `from` bytes.
fn line_end(file: &File, from: u64) -> io::Result<u64> {
    let mut file = file;
    let mut piece = vec![0; 4 << 10];
    let mut end = from;
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        let bytes = &mut piece[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What a file of records holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// The records.
    pub records: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Numbers of the lines, from 1, that hold none.
    pub bad: Vec<u64>,
}

/// Longest line that is taken for a record: a file without line ends must not fill the memory.
const LONGEST: u64 = 1 << 20;

/// Reads a file of records back. An unfinished last line, which a killed run leaves, is passed over; so is a line that is
/// no record, and its number is noted.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Records> {
    let mut reader = BufReader::new(files::open(path)?);
    let mut found = Records::default();
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        let read = (&mut reader).take(LONGEST).read_until(b'\n', &mut line);
        let length = read.map_err(|error| read_error(path, error))? as u64;
        if line.last() != Some(&b'\n') {
            if length < LONGEST {
                break;
            }
            reader.skip_until(b'\n').map_err(|error| read_error(path, error))?;
        }
        match serde_json::from_slice(&line) {
            Ok(record) => found.records.push(record),
            Err(_) => found.bad.push(number),
        }
    }
    Ok(found)
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
        assert_eq!(read(&path).unwrap().records[0]["loss"].as_f64(), Some(0.1 + 0.2));
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
        assert_eq!(read(&resumed).unwrap().records.len(), 11);

        let (mut writer, note) = Writer::resume(&resumed, Some(offset)).unwrap();
        assert_eq!(note, None);
        (7..20).for_each(|n| step(&mut writer, n));
        assert_eq!(fs::read(&resumed).unwrap(), fs::read(&whole).unwrap());
        assert_eq!(writer.offset(), fs::metadata(&whole).unwrap().len());
    }

    /// Whatever became of the file, the next record stands in a line of its own behind what is whole.
    #[test]
    fn a_file_that_was_cut_changed_or_cleared_away_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        for (there, offset, kept, noted) in [
            (Some("{}\n{}\n"), Some(6), "{}\n{}\n", None),
            (Some("{}\n{}\n{}\n"), Some(6), "{}\n{}\n", None),
            (Some("{}\n{\"a"), None, "{}\n", None),
            (Some("{}\n{\"a"), Some(20), "{}\n", Some("has 6 B, the checkpoint recorded 20 B")),
            (Some("{}\n{\"abc\": 1}\n"), Some(5), "{}\n", Some("has other lines than")),
            (Some(""), Some(20), "", Some("has 0 B, the checkpoint recorded 20 B")),
            (Some("no line end"), Some(3), "", Some("has other lines than")),
            (None, Some(20), "", Some("is gone")),
            (None, None, "", None),
            (None, Some(0), "", None),
        ] {
            let _ = fs::remove_file(&path);
            there.into_iter().for_each(|text| fs::write(&path, text).unwrap());
            let (mut writer, note) = Writer::resume(&path, offset).unwrap();
            assert_eq!(note.is_some(), noted.is_some(), "{there:?}: {note:?}");
            assert!(noted.is_none_or(|words| note.as_ref().unwrap().contains(words)), "{there:?}: {note:?}");
            step(&mut writer, 7);
            let found = fs::read_to_string(&path).unwrap();
            assert_eq!(found, format!("{kept}{{\"step\":7,\"train/loss\":0.125}}\n"), "{there:?}");
            assert_eq!(writer.offset(), found.len() as u64);
        }
        let error = Writer::resume(dir.path(), None).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("expected a file"), "{error}");
    }

    #[test]
    fn a_bad_line_is_passed_over_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        let long = "x".repeat(2 * LONGEST as usize);
        fs::write(&path, format!("{{}}\n[1]\n{{\"a\": \0}}\n{long}\n{{\"b\": 1}}\n{{")).unwrap();
        let found = read(&path).unwrap();
        assert_eq!((found.records.len(), found.bad), (2, vec![2, 3, 4]));
        fs::write(&path, b"{}\n\xff\xfe\n").unwrap();
        assert_eq!(read(&path).unwrap().bad, [2]);
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
