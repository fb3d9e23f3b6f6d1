//! JSON files as people have them: with a byte order mark, in UTF-16, too large, or no JSON at all.

use crate::data::error::{Error, Place, Result};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Bytes of the largest file that is read. The largest of the ARC Prize and of RE-ARC take a tenth of it.
pub const MAX_BYTES: u64 = 64 << 20;

/// What a file begins with that people take for JSON, what it is, and the way out.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"PAR1", "a Parquet table", "save its tasks as JSON first"),
    (b"version https://git-lfs", "a pointer of Git LFS", "fetch the file with git lfs pull"),
    (b"<", "a web page", "download the file itself"),
    (b"\x89HDF", "an HDF5 file", "save its tasks as JSON first"),
];

/// Reads the JSON file `path`; `expected` says what it should be.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Format`] if it is no regular file, larger than [`MAX_BYTES`], or no
/// JSON.
pub fn read(path: &Path, expected: &str) -> Result<Value> {
    parse(path, &bytes(path)?, expected)
}

/// The whole file, if it is one and not too large.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let kind = fs::metadata(path).map_err(Error::io(path, "read the file"))?.file_type();
    // What the shell hands over for <(command) and /dev/stdin ends when the command does. Any other pipe may never end.
    let handed_over = path.starts_with("/dev") || path.starts_with("/proc");
    if kind.is_dir() || !kind.is_file() && !handed_over {
        let found = if kind.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(Error::format(path, Place::File, "kind of file", found, "a regular file of JSON text"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(Error::io(path, "read the file"))?;
    if bytes.len() as u64 > MAX_BYTES {
        let expected =
            format!("at most {} MiB: split the file, or give one file for each task", MAX_BYTES >> 20);
        return Err(Error::format(path, Place::File, "size", "more", expected));
    }
    Ok(bytes)
}

/// The JSON value that `bytes` are; errors call them `path`.
///
/// # Errors
/// [`Error::Format`] naming the line of what is no JSON.
pub fn parse(path: &Path, bytes: &[u8], expected: &str) -> Result<Value> {
    let text = text(bytes).map_err(|found| {
        Error::format(path, Place::File, "text", found, format!("{expected} in JSON, expected UTF-8 text"))
    });
    let text = text.or_else(|error| other(path, bytes).map_or(Err(error), Err))?;
    serde_json::from_str(&text).map_err(|error| {
        let line = Place::Line(error.line().max(1) as u64);
        other(path, bytes)
            .unwrap_or_else(|| Error::format(path, line, "JSON", error, format!("{expected} in JSON")))
    })
}

/// The error for a file of another known kind.
fn other(path: &Path, bytes: &[u8]) -> Option<Error> {
    let &(_, found, way_out) = OTHERS.iter().find(|(begin, ..)| bytes.starts_with(begin))?;
    Some(Error::format(path, Place::File, "content", found, format!("JSON text: {way_out}")))
}

/// The text without its byte order mark, or what is there in its place. A mark of UTF-16 says how to read the rest.
fn text(bytes: &[u8]) -> std::result::Result<Cow<'_, str>, String> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)?),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)?),
        _ => Cow::Borrowed(
            std::str::from_utf8(bytes)
                .map_err(|e| format!("a byte {} that is not UTF-8", e.valid_up_to()))?,
        ),
    };
    const MARK: char = '\u{feff}';
    Ok(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_start_matches(MARK)),
        Cow::Owned(text) => Cow::Owned(text.trim_start_matches(MARK).to_owned()),
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> std::result::Result<String, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|&pair| unit(pair)).collect();
    String::from_utf16(&units)
        .ok()
        .filter(|_| rest.is_empty())
        .ok_or_else(|| "UTF-16 text with a character that is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(bytes: &[u8]) -> std::result::Result<Value, String> {
        parse(Path::new("a.json"), bytes, "a task").map_err(|error| error.to_string())
    }

    #[test]
    fn byte_order_marks_are_passed_over() {
        let text = r#"{"colour": "grün"}"#;
        let utf16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(unit).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            format!("\u{feff}\u{feff} {text}\r\n").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            assert_eq!(parsed(&bytes), Ok(json!({"colour": "grün"})), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_json_is_named() {
        for (bytes, expected) in [
            (&b"[1,\n 2,,"[..], "a.json, line 2, JSON: found expected value"),
            (b"", "line 1, JSON: found EOF"),
            (b"[\xff]", "a.json, text: found a byte 1 that is not UTF-8, expected a task in JSON"),
            (b"\xff\xfe1", "found UTF-16 text"),
            (b"PK\x03\x04\x80", "found a ZIP archive, expected JSON text: unpack it first"),
            (b"\x1f\x8b\x08", "found a gzip archive"),
            (b"PAR1", "found a Parquet table"),
            (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
            (b"<!DOCTYPE html>", "found a web page"),
        ] {
            let error = parsed(bytes).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_files_of_a_bearable_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.json");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let error = |path: &Path| read(path, "a task").unwrap_err().to_string();
        assert!(error(&path).contains("size: found more, expected at most 64 MiB"), "{}", error(&path));
        assert!(error(dir.path()).contains("kind of file: found a directory, expected a regular file"));
        assert!(error(&dir.path().join("none")).contains("cannot read the file"));
        // A socket can be made without a call to the system that is not safe; it is refused as a pipe is.
        let socket = dir.path().join("socket.json");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(error(&socket).contains("found a pipe or a device"), "{}", error(&socket));
        assert!(error(Path::new("/dev/null")).contains("EOF"));
    }
}
