//! What a file is that is none of the formats that are read: told by its first bytes, with the way out.

/// So many bytes tell what a file is.
pub const ENOUGH: usize = 512;

/// A file that is something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, as in "the file is ..".
    pub what: &'static str,
    /// What to do about it.
    pub hint: &'static str,
}

const AGAIN: &str = "copy or download it again";
const PICKLE: &str = "load it in PyTorch 1.6 or later and write it again with torch.save(state_dict, path)";
const CONVERT: &str =
    "convert it with the program that wrote it, or find the PyTorch or safetensors file it was made of";
const DOWNLOAD: &str =
    "download the file itself: on the page of a hub that is the link named download or raw";
const NUMPY: &str = "in Python, with the arrays under their tensors' names: \
                     safetensors.numpy.save_file(dict(np.load(path)), \"model.safetensors\")";

/// Where a format's mark stands, the mark, what the format is, and the hint.
const MARKS: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, in place of the file itself",
        "git lfs install && git lfs pull in the clone, or download the file itself",
    ),
    (0, b"\x1f\x8b", "compressed with gzip", "gunzip it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unzstd it first"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "unxz it first"),
    (0, b"BZh", "compressed with bzip2", "bunzip2 it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (0, b"\x04\x22\x4d\x18", "compressed with LZ4", "unlz4 it first"),
    (0, b"PK\x05\x06", "an empty ZIP archive", "write or download it again"),
    (0, b"PK\x07\x08", "a part of a split ZIP archive", "join its parts first: zip -s 0"),
    (0, b"GGUF", "a GGUF file of llama.cpp", CONVERT),
    (0, b"lmgg", "a GGML file of llama.cpp", CONVERT),
    (0, b"tjgg", "a GGML file of llama.cpp", CONVERT),
    (0, b"fmgg", "a GGML file of llama.cpp", CONVERT),
    (4, b"TFL3", "a TensorFlow Lite model", CONVERT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", NUMPY),
    (0, b"%PDF-", "a PDF document", DOWNLOAD),
    (0, b"\x89PNG", "a picture", DOWNLOAD),
    (0, b"\xff\xd8\xff", "a picture", DOWNLOAD),
    (0, b"\xff\xfe", "a text in UTF-16", "save it again as UTF-8"),
    (0, b"\xfe\xff", "a text in UTF-16", "save it again as UTF-8"),
    (0, b"\x7fELF", "a program", DOWNLOAD),
    (0, b"MZ", "a program", DOWNLOAD),
    (
        257,
        b"ustar",
        "a tar archive, or a checkpoint from before PyTorch 0.1.10",
        "unpack it with tar -xf; an old checkpoint has to be loaded and saved again in PyTorch",
    ),
];

/// What a file with these first bytes is, if it is known and none of the formats that are read.
#[must_use]
pub fn recognise(first: &[u8]) -> Option<Foreign> {
    if first.is_empty() {
        return Some(Foreign { what: "empty", hint: AGAIN });
    }
    if first.len() >= 64 && first.iter().all(|&byte| byte == 0) {
        return Some(Foreign {
            what: "zeros at its beginning: it was not written or downloaded to its end",
            hint: AGAIN,
        });
    }
    // A safetensors file begins with the length of its header, whose bytes can look like any mark.
    if first.get(4..9) == Some(&[0, 0, 0, 0, b'{']) {
        return None;
    }
    let marked = |at: &usize, mark: &[u8]| first.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    if let Some((_, _, what, hint)) = MARKS.iter().find(|(at, mark, ..)| marked(at, mark)) {
        return Some(Foreign { what, hint });
    }
    match first {
        [0x80, 2..=5, 0x8a, ..] => {
            return Some(Foreign { what: "a checkpoint from before PyTorch 1.6", hint: PICKLE });
        }
        [0x80, 2..=5, 0x95, rest @ ..] if rest.get(8) == Some(&0x8a) => {
            return Some(Foreign { what: "a checkpoint from before PyTorch 1.6", hint: PICKLE });
        }
        [0x80, 2..=5, b'}' | b']' | b'(' | b'c' | b'h' | b'K' | b'X' | 0x8c | 0x95, ..] => {
            return Some(Foreign { what: "a pickle that is no checkpoint", hint: PICKLE });
        }
        // The version of its format, then the name of the program that made it.
        [0x08, 1..=15, 0x12 | 0x1a | 0x22 | 0x3a | 0x42, ..] => {
            return Some(Foreign { what: "an ONNX model", hint: CONVERT });
        }
        _ => {}
    }
    text(first)
}

/// What a text is that should be a configuration or a table: only what is surely something else.
#[must_use]
pub fn recognise_text(first: &[u8]) -> Option<Foreign> {
    recognise(&first[..first.len().min(ENOUGH)])
        .filter(|foreign| !matches!(foreign.what, "empty" | "a JSON text" | "a text"))
}

fn text(first: &[u8]) -> Option<Foreign> {
    let cut = match std::str::from_utf8(first) {
        Ok(text) => text,
        // A character that was cut off at the end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if cut.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let start = cut.trim_start_matches('\u{feff}').trim_start();
    Some(if start.starts_with('<') {
        Foreign { what: "a web page (text), no checkpoint", hint: DOWNLOAD }
    } else if start.starts_with(['{', '[']) {
        Foreign {
            what: "a JSON text",
            hint: "a configuration goes to --config; name the file of the weights",
        }
    } else {
        Foreign { what: "a text", hint: "name the file of the weights" }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_download_by_mistake_is_named() {
        let mut tar = vec![0; 300];
        tar[257..262].copy_from_slice(b"ustar");
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
        for (bytes, expected) in [
            (&pointer[..], "Git LFS"),
            (b"", "empty"),
            (&[0; 512], "zeros at its beginning"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"\xef\xbb\xbf<?xml version", "web page"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x28\xb5\x2f\xfd\x04", "Zstandard"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x08\x08\x12\x07pytorch", "ONNX"),
            (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
            (b"\x89HDF\r\n\x1a\n\0", "HDF5"),
            (b"\x93NUMPY\x01\0", "NumPy"),
            (b"PK\x05\x06", "empty ZIP"),
            (&tar, "tar archive"),
            (b"\x80\x02\x8a\x0al\xfc", "before PyTorch 1.6"),
            (b"\x80\x02}q\0.", "a pickle"),
            (b"{\"weight_map\": {}}", "JSON"),
            (b"404: Not Found \xe2\x80", "a text"),
        ] {
            let found = recognise(bytes).unwrap_or_else(|| panic!("{expected}"));
            assert!(found.what.contains(expected), "{}, expected {expected}", found.what);
        }
    }

    #[test]
    fn tensors_and_noise_are_not_recognised() {
        for bytes in [
            &b"\x80\x02\0\0\0\0\0\0{\"a\""[..],
            b"@\0\0\0\0\0\0\0{\"__metadata__\"",
            b"\x1f\x8b\0\0\0\0\0\0{\"a\"",
            b"\xff\xfe\0\0\0\0\0\0{\"a\"",
            &[7; 40],
            b"\0\0\0\0",
        ] {
            assert_eq!(recognise(bytes), None, "{bytes:?}");
        }
        assert_eq!(recognise_text(b"arch:\n  H_cycles: 2\n"), None);
        assert_eq!(recognise_text(b"{}"), None);
        assert!(recognise_text(b"<html>").is_some());
    }
}
