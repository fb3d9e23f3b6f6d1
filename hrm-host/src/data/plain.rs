//! Text as editors of any system leave it, made plain.

use std::borrow::Cow;

/// The mark that some editors write before UTF-8 text. It cannot be seen and stands for nothing.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// `text` without its byte order mark.
#[must_use]
pub fn unmarked(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// `text` without its byte order mark, with line feeds for line ends of any kind, and spaces for those that do not break.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let text = unmarked(text);
    if text.contains(['\r', '\u{a0}']) {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n").replace('\u{a0}', " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// The text of a file's bytes: UTF-8, or UTF-16 where a byte order mark says so.
///
/// # Errors
/// They are neither: what was found.
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>()
    };
    match bytes[..] {
        [0xff, 0xfe, _, ..] => {
            return wide(u16::from_le_bytes).map_err(|error| format!("no UTF-16: {error}"));
        }
        [0xfe, 0xff, _, ..] => {
            return wide(u16::from_be_bytes).map_err(|error| format!("no UTF-16: {error}"));
        }
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.starts_with(BYTE_ORDER_MARK) => Ok(unmarked(&text).to_owned()),
        Ok(text) => Ok(text),
        Err(error) => Err(format!("byte {} is no UTF-8 text", error.utf8_error().valid_up_to())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_go() {
        assert_eq!(plain("\u{feff}a\r\nb\rc\u{a0}d"), "a\nb\nc d");
        assert!(matches!(plain("a\nb"), Cow::Borrowed("a\nb")));
    }

    #[test]
    fn bytes_are_decoded_by_their_mark() {
        for bytes in [
            b"a1".to_vec(),
            b"\xef\xbb\xbfa1".to_vec(),
            b"\xff\xfea\x001\x00".to_vec(),
            b"\xfe\xff\x00a\x001".to_vec(),
        ] {
            assert_eq!(decode(bytes).as_deref(), Ok("a1"));
        }
        assert_eq!(decode(b"ab\xff".to_vec()).unwrap_err(), "byte 2 is no UTF-8 text");
        assert!(decode(b"\xff\xfe\x00\xd8".to_vec()).unwrap_err().contains("UTF-16"));
        assert!(decode(b"\xff\xfe".to_vec()).is_err());
    }
}
