//! What a pickle would call: the functions and classes that it names, found without running it.
//!
//! A pickle is a program for a small stack machine; what makes it dangerous are the two instructions that look up a
//! function by its name. Here the program is only walked over. The instructions are those of CPython's `pickletools`.

use std::io::{BufRead, Read};

/// Names that the pickle of a state dict may look up; none of them runs code of the file's choice. `torch.` is followed
/// by storage classes and element types.
const HARMLESS: [(&str, &[&str]); 4] = [
    ("collections", &["OrderedDict"]),
    ("torch._utils", &["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"]),
    ("torch.storage", &["TypedStorage", "UntypedStorage"]),
    (
        "torch",
        &[
            "BFloat16Storage",
            "BoolStorage",
            "ByteStorage",
            "CharStorage",
            "DoubleStorage",
            "FloatStorage",
            "HalfStorage",
            "IntStorage",
            "LongStorage",
            "ShortStorage",
            "Size",
            "bfloat16",
            "bool",
            "float16",
            "float32",
            "float64",
            "int16",
            "int32",
            "int64",
            "int8",
            "uint16",
            "uint32",
            "uint64",
            "uint8",
        ],
    ),
];

/// The arguments that follow an instruction.
enum Arguments {
    Bytes(u64),
    Lines(usize),
    /// So many bytes give the length of what follows.
    Counted(usize),
}

/// Walks over the pickle and returns the first name in it that is not known to be harmless.
///
/// # Errors
/// It is no pickle, or of a kind that `torch.save` does not write.
pub(super) fn first_call(mut pickle: &[u8]) -> Result<Option<String>, String> {
    let whole = pickle.len();
    loop {
        let at = whole - pickle.len();
        let truncated = |_| format!("its pickle ends in an instruction at byte {at}");
        let mut instruction = [0];
        pickle.read_exact(&mut instruction).map_err(|_| "its pickle has no end".to_owned())?;
        let arguments = match instruction[0] {
            b'.' => return Ok(None),
            b'c' => {
                let (module, name) =
                    (line(&mut pickle).map_err(truncated)?, line(&mut pickle).map_err(truncated)?);
                let harmless =
                    HARMLESS.iter().any(|(from, names)| *from == module && names.contains(&&*name));
                if !harmless {
                    return Ok(Some(format!("{module}.{name}")));
                }
                continue;
            }
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'b'
            | b'd'
            | b'l'
            | b't'
            | b's'
            | b'a'
            | b')'
            | b']'
            | b'}'
            | b'e'
            | b'u'
            | b'Q'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92
            | 0x94 => Arguments::Bytes(0),
            b'K' | b'h' | b'q' | 0x80 => Arguments::Bytes(1),
            b'M' => Arguments::Bytes(2),
            b'J' | b'j' | b'r' => Arguments::Bytes(4),
            b'G' | 0x95 => Arguments::Bytes(8),
            b'I' | b'L' | b'F' | b'S' | b'V' | b'g' | b'p' | b'P' => Arguments::Lines(1),
            b'U' | b'C' | 0x8a | 0x8c => Arguments::Counted(1),
            b'T' | b'X' | b'B' | 0x8b => Arguments::Counted(4),
            0x8d | 0x8e | 0x96 => Arguments::Counted(8),
            // STACK_GLOBAL takes the name from the stack, where it may have been put together from anything.
            0x93 => return Err("its pickle has protocol 4 or later; torch.save writes protocol 2".into()),
            other => return Err(format!("its pickle has the instruction {other:#04x} at byte {at}")),
        };
        match arguments {
            Arguments::Bytes(count) => skip(&mut pickle, count),
            Arguments::Lines(count) => (0..count).try_for_each(|_| line(&mut pickle).map(drop)),
            Arguments::Counted(width) => {
                let mut count = [0; 8];
                pickle
                    .read_exact(&mut count[..width])
                    .and_then(|()| skip(&mut pickle, u64::from_le_bytes(count)))
            }
        }
        .map_err(truncated)?;
    }
}

fn skip(pickle: &mut &[u8], count: u64) -> std::io::Result<()> {
    let rest = usize::try_from(count).ok().and_then(|count| pickle.get(count..));
    *pickle = rest.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(())
}

fn line(pickle: &mut &[u8]) -> std::io::Result<String> {
    let mut line = Vec::new();
    pickle.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_wherever_it_stands() {
        let system = Some("posix.system".to_owned());
        assert_eq!(first_call(b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R."), Ok(system.clone()));
        // Computed and thrown away before an empty dictionary.
        assert_eq!(first_call(b"cposix\nsystem\n(S'ls'\ntR0}."), Ok(system));
        // A string that only looks like it.
        assert_eq!(first_call(b"\x80\x02X\x0e\0\0\0cposix\nsystem\n0}."), Ok(None));
        assert_eq!(first_call(b"\x80\x02ccollections\nOrderedDict\n)R."), Ok(None));
        assert_eq!(first_call(b"ctorch\nload\n."), Ok(Some("torch.load".to_owned())));
    }

    #[test]
    fn what_cannot_be_walked_is_refused() {
        for bad in [
            &b""[..],
            b"\x80",
            b"}",
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
            b"cposix\nsys",
            b"X\xff\xff\xff\xff.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"i",
            b"\x82\x01.",
            b"\x97.",
            b"\xff.",
        ] {
            assert!(first_call(bad).is_err(), "{bad:?}");
        }
    }
}
