//! TensorBoard event files with scalars, written by hand.
//!
//! A file is a sequence of TFRecords, each
//!
//! ```text
//! u64 length, u32 masked CRC-32C of the length, the bytes, u32 masked CRC-32C of the bytes     (little-endian)
//! ```
//!
//! and each record one `Event` protobuf. Of it these fields are used, numbered as in TensorFlow's `event.proto` and
//! `summary.proto`: `Event { 1: wall_time f64, 2: step i64, 3: file_version string, 5: summary Summary }`,
//! `Summary { 1: repeated Value }`, `Value { 1: tag string, 2: simple_value f32 }`. The first event carries the version
//! `brain.Event:2` and nothing else.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Log;
use crate::error::Result;

/// Name of a run's event file. TensorBoard asks for `tfevents` in it; that it is always the same lets a resumed run cut
/// the file where its checkpoint was made, so that no step stands in it twice.
pub const EVENTS: &str = "events.out.tfevents.hrm";

/// Appends scalars to an event file.
#[derive(Debug)]
pub struct Writer {
    log: Log,
}

impl Writer {
    /// A new event file, whatever was there before.
    pub fn create(path: &Path) -> Result<Self> {
        let mut writer = Self { log: Log::create(path)? };
        writer.log.append(&record(&version_event(wall_time())))?;
        Ok(writer)
    }

    /// Cuts an event file at `offset` bytes, as recorded in a checkpoint, and appends from there. Of a file that is shorter
    /// than that, or another one, the whole records at its start are kept; what is to be said about it comes back.
    pub fn resume(path: &Path, offset: u64) -> Result<(Self, Option<String>)> {
        let (log, note) = Log::resume(path, Some(offset), whole_records)?;
        let mut writer = Self { log };
        if writer.log.offset == 0 {
            writer.log.append(&record(&version_event(wall_time())))?;
        }
        Ok((writer, note))
    }

    /// Appends the scalars of one step in one write. NaN is allowed; TensorBoard marks it.
    pub fn append(&mut self, step: u64, scalars: &[(&str, f32)]) -> Result<()> {
        self.log.append(&record(&scalar_event(wall_time(), step, scalars)))
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

/// The end of the last whole record among the first `within` bytes: record after record from the start, by their lengths.
fn whole_records(file: &File, within: u64) -> io::Result<u64> {
    let mut file = BufReader::new(file);
    file.seek(SeekFrom::Start(0))?;
    let mut end = 0;
    loop {
        let mut head = [0; 12];
        if within - end < head.len() as u64 {
            return Ok(end);
        }
        file.read_exact(&mut head)?;
        let (length, crc) = head.split_at(8);
        let bytes = u64::from_le_bytes(length.try_into().unwrap_or_default());
        let next = bytes.checked_add(16).and_then(|bytes| bytes.checked_add(end));
        match next.filter(|next| *next <= within && masked_crc32c(length).to_le_bytes() == crc) {
            Some(next) => {
                file.seek_relative((next - end - 12) as i64)?;
                end = next;
            }
            None => return Ok(end),
        }
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(payload.len() + 16);
    out.extend(length);
    out.extend(masked_crc32c(&length).to_le_bytes());
    out.extend(payload);
    out.extend(masked_crc32c(payload).to_le_bytes());
    out
}

fn version_event(wall_time: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_f64(&mut event, 1, wall_time);
    put_bytes(&mut event, 3, b"brain.Event:2");
    event
}

fn scalar_event(wall_time: f64, step: u64, scalars: &[(&str, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let mut value = Vec::new();
        put_bytes(&mut value, 1, tag.as_bytes());
        put_f32(&mut value, 2, *number);
        put_bytes(&mut summary, 1, &value);
    }
    let mut event = Vec::new();
    put_f64(&mut event, 1, wall_time);
    put_varint_field(&mut event, 2, step);
    put_bytes(&mut event, 5, &summary);
    event
}

// Protobuf wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    put_varint(out, field << 3 | VARINT);
    put_varint(out, value);
}

fn put_f64(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | FIXED64);
    out.extend(value.to_le_bytes());
}

fn put_f32(out: &mut Vec<u8>, field: u64, value: f32) {
    put_varint(out, field << 3 | FIXED32);
    out.extend(value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    put_varint(out, field << 3 | LENGTH_DELIMITED);
    put_varint(out, value.len() as u64);
    out.extend(value);
}

/// CRC-32C, rotated and offset so that a checksum of data that holds checksums stays sound.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected polynomial 0x82f63b78.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// One protobuf field: its number and its bytes (fixed and length-delimited) or its value (varint).
    #[derive(Debug, PartialEq)]
    enum Field {
        Varint(u64, u64),
        Bytes(u64, Vec<u8>),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    fn fields(mut bytes: &[u8]) -> Vec<Field> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                VARINT => {
                    found.push(Field::Varint(key >> 3, varint(&mut bytes)));
                    continue;
                }
                FIXED64 => 8,
                FIXED32 => 4,
                LENGTH_DELIMITED => varint(&mut bytes) as usize,
                other => panic!("wire type {other}"),
            };
            found.push(Field::Bytes(key >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        found
    }

    /// The payloads of a file, every checksum checked.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let payload = &file[12..12 + length];
            assert_eq!(file[8..12], masked_crc32c(&file[..8]).to_le_bytes());
            assert_eq!(file[12 + length..16 + length], masked_crc32c(payload).to_le_bytes());
            found.push(payload.to_vec());
            file = &file[16 + length..];
        }
        found
    }

    #[test]
    fn crc32c_has_the_values_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn scalars_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EVENTS);
        let mut writer = Writer::create(&path).unwrap();
        writer.append(300, &[("train/loss", 0.5), ("train/steps", f32::NAN)]).unwrap();

        let found = records(&fs::read(&path).unwrap());
        assert_eq!(found.len(), 2);
        assert_eq!(fields(&found[0])[1], Field::Bytes(3, b"brain.Event:2".to_vec()));
        let event = fields(&found[1]);
        assert_eq!(event[1], Field::Varint(2, 300));
        let Field::Bytes(5, summary) = &event[2] else { panic!("{event:?}") };
        let values: Vec<Vec<Field>> = fields(summary)
            .iter()
            .map(|value| match value {
                Field::Bytes(1, value) => fields(value),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            values[0],
            [Field::Bytes(1, b"train/loss".to_vec()), Field::Bytes(2, 0.5f32.to_le_bytes().to_vec())]
        );
        assert_eq!(values[1][0], Field::Bytes(1, b"train/steps".to_vec()));
    }

    #[test]
    fn a_resumed_file_holds_every_step_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EVENTS);
        let mut writer = Writer::create(&path).unwrap();
        writer.append(1, &[("a", 1.0)]).unwrap();
        let offset = writer.sync().unwrap();
        writer.append(2, &[("a", 2.0)]).unwrap();
        drop(writer);
        let (mut writer, note) = Writer::resume(&path, offset).unwrap();
        assert_eq!(note, None);
        writer.append(2, &[("a", 3.0)]).unwrap();
        let steps: Vec<Field> =
            records(&fs::read(&path).unwrap())[1..].iter().map(|event| fields(event).remove(1)).collect();
        assert_eq!(steps, [Field::Varint(2, 1), Field::Varint(2, 2)]);
    }

    /// The records that are left are whole, and TensorBoard can read on behind them.
    #[test]
    fn a_file_that_was_cut_anywhere_or_replaced_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(EVENTS);
        let mut writer = Writer::create(&path).unwrap();
        (1..4).for_each(|step| writer.append(step, &[("a", 1.0)]).unwrap());
        let offset = writer.offset();
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut writer, note) = Writer::resume(&path, offset).unwrap();
            assert_eq!(note.is_some(), length < whole.len(), "{length}");
            writer.append(9, &[("a", 1.0)]).unwrap();
            let found = records(&fs::read(&path).unwrap());
            assert!(fields(&found[0]).contains(&Field::Bytes(3, b"brain.Event:2".to_vec())));
            assert!(fields(found.last().unwrap()).contains(&Field::Varint(2, 9)));
        }
        fs::write(&path, [7; 1000]).unwrap();
        let (_, note) = Writer::resume(&path, offset).unwrap();
        assert!(note.is_some());
        assert_eq!(records(&fs::read(&path).unwrap()).len(), 1);
    }
}
