//! What a pickle would call: found by walking over it, without running anything.
//!
//! A pickle is a program for a small stack machine. What makes it dangerous are the instructions that look up a function
//! by its name and call it. Here the program is only followed: of a value it is known whether it is a text, a name that
//! was looked up, or something else. The instructions are those of CPython's `pickletools`, protocols 0 to 5.
//!
//! * A call of a function is allowed if the function is known to do no harm, as all that rebuild tensors are.
//! * An object of an unknown class is allowed: making one runs nothing here, and its attributes are passed over.
//! * A name of a module that can run programs or reach files is refused wherever it stands.
//!
//! Some objects are filled after they are made, as dictionaries are: the reader of tensors does not know them, so
//! [`follow`] writes the pickle again with a plain dictionary or list in place of each.

use std::collections::HashMap;

/// Functions and classes that a pickle may call: the module, and what of it.
const HARMLESS: &[(&str, &[&str])] = &[
    ("collections", &["OrderedDict", "defaultdict", "Counter", "deque"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("_codecs", &["encode"]),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
    ("builtins", BUILTINS),
    ("__builtin__", BUILTINS),
    ("pathlib", PATHS),
    ("pathlib._local", PATHS),
    ("datetime", &["datetime", "date", "time", "timedelta", "timezone"]),
    ("decimal", &["Decimal"]),
    ("fractions", &["Fraction"]),
    ("uuid", &["UUID", "SafeUUID"]),
    ("numpy", NUMPY),
    ("numpy.core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy._core.multiarray", &["scalar", "_reconstruct"]),
    ("numpy.core.numeric", &["_frombuffer"]),
    ("numpy._core.numeric", &["_frombuffer"]),
    ("numpy.random._pickle", &["__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"]),
    ("torch", TORCH),
    ("torch.storage", &["TypedStorage", "UntypedStorage"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2", "Tensor"]),
    ("torch.nn.parameter", &["Parameter", "Buffer"]),
    ("torch.serialization", &["_get_layout"]),
    ("torch.torch_version", &["TorchVersion"]),
];

const BUILTINS: &[&str] = &[
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "complex",
    "slice",
    "range",
    "xrange",
    "bytearray",
    "bytes",
    "int",
    "long",
    "float",
    "bool",
    "str",
    "unicode",
    "object",
    "type",
    "NoneType",
    "Ellipsis",
];
const PATHS: &[&str] = &["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"];
const NUMPY: &[&str] = &[
    "dtype",
    "ndarray",
    "bool_",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "longlong",
    "ulonglong",
    "str_",
    "bytes_",
    "datetime64",
    "timedelta64",
];
const TORCH: &[&str] = &[
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
    "ComplexFloatStorage",
    "ComplexDoubleStorage",
    "UntypedStorage",
    "Size",
    "Tensor",
    "device",
    "dtype",
    "memory_format",
    "layout",
    "strided",
    "preserve_format",
    "contiguous_format",
    "Generator",
    "bfloat16",
    "bool",
    "complex64",
    "complex128",
    "float",
    "double",
    "half",
    "int",
    "long",
    "float16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e5m2",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

/// Modules, and packages with all in them, that can run programs, load code or reach files. Of `builtins` and `torch`
/// only what stands above is allowed.
const DANGEROUS: &[&str] = &[
    "os",
    "posix",
    "nt",
    "posixpath",
    "ntpath",
    "sys",
    "subprocess",
    "importlib",
    "runpy",
    "pty",
    "socket",
    "shutil",
    "ctypes",
    "_ctypes",
    "code",
    "codeop",
    "commands",
    "webbrowser",
    "multiprocessing",
    "threading",
    "_thread",
    "signal",
    "pdb",
    "bdb",
    "profile",
    "cProfile",
    "timeit",
    "trace",
    "doctest",
    "imp",
    "marshal",
    "pickle",
    "_pickle",
    "cPickle",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "operator",
    "_operator",
    "functools",
    "inspect",
    "asyncio",
    "http",
    "urllib",
    "urllib2",
    "requests",
    "httplib",
    "aiohttp",
    "ftplib",
    "smtplib",
    "telnetlib",
    "tempfile",
    "io",
    "_io",
    "gc",
    "atexit",
    "site",
    "pip",
    "setuptools",
    "distutils",
    "ensurepip",
    "venv",
    "lib2to3",
    "idlelib",
    "pydoc",
    "test",
    "unittest",
    "pkgutil",
    "zipimport",
    "platform",
    "getpass",
    "builtins",
    "__builtin__",
    "torch",
    "torch.hub",
    "torch.jit",
    "torch.serialization",
    "torch.package",
    "torch.utils",
    "torch._inductor",
    "torch._dynamo",
    "torch.distributed",
    "torch.testing",
    "numpy.testing",
    "numpy.f2py",
    "numpy.distutils",
];

/// The longest pickle that is followed; an instruction of one byte becomes four at most where it is written again.
const LONGEST: usize = 1 << 28;

/// What following a pickle has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// It names or calls this, which may do harm.
    Calls(String),
    /// It does no harm. The pickle again, if it fills objects that the reader of tensors does not know.
    Harmless(Option<Vec<u8>>),
}

/// What is known of a value on the stack.
#[derive(Clone, Copy)]
enum Value {
    /// Where the items of a tuple, list or call begin.
    Mark,
    /// A text: its place in the pickle.
    Text(u32, u32),
    /// The looked-up name of this number.
    Name(u32),
    /// An object in whose place an empty dictionary stands at this byte of what is written.
    Object(u32),
    Other,
}

/// The arguments of an instruction: so many bytes; so many lines; or the bytes that a count of this width gives.
enum Arguments {
    Bytes(u64),
    Lines(usize),
    Counted(usize),
}

/// Follows the pickle.
///
/// # Errors
/// It is no pickle, or puts together what it calls so that it cannot be known.
pub(super) fn follow(pickle: &[u8]) -> Result<Followed, String> {
    // What is kept of values counts bytes and names in 32 bits.
    if pickle.len() > LONGEST {
        return Err(format!("it has {} bytes, expected at most {LONGEST}", pickle.len()));
    }
    let mut walk = Walk { pickle, ..Walk::default() };
    loop {
        match walk.step()? {
            None => {}
            Some(followed) => return Ok(followed),
        }
    }
}

#[derive(Default)]
struct Walk<'a> {
    pickle: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u64, Value>,
    names: Vec<(String, String)>,
    /// The pickle with plain dictionaries in place of objects, and whether that is needed.
    out: Vec<u8>,
    filled: bool,
}

impl Walk<'_> {
    /// Follows one instruction; returns what has been shown at the end or at the first harm.
    fn step(&mut self) -> Result<Option<Followed>, String> {
        let start = self.at;
        let truncated = || format!("its pickle ends in an instruction at byte {start}");
        let instruction = *self.pickle.get(start).ok_or_else(|| "its pickle has no end".to_owned())?;
        self.at += 1;
        let arguments = arguments(instruction)
            .ok_or_else(|| format!("its pickle has the instruction {instruction:#04x} at byte {start}"))?;
        let argument = match arguments {
            Arguments::Bytes(count) => self.take(count),
            Arguments::Lines(count) => {
                let from = self.at;
                (0..count).try_for_each(|_| self.line()).map(|()| from)
            }
            Arguments::Counted(width) => self.number(width).and_then(|count| self.take(count)),
        }
        .ok_or_else(truncated)?;
        let text = |end: usize| Value::Text(argument as u32, end as u32);
        let short = || format!("its pickle takes more from its stack than there is at byte {start}");
        match instruction {
            b'.' => {
                self.out.push(b'.');
                return Ok(Some(Followed::Harmless(self.filled.then(|| std::mem::take(&mut self.out)))));
            }
            b'(' => self.stack.push(Value::Mark),
            b'0' => drop(self.stack.pop().ok_or_else(short)?),
            b'1' => self.pop_to_mark().ok_or_else(short)?,
            b'2' => self.stack.push(*self.stack.last().ok_or_else(short)?),
            b'N'
            | b'I'
            | b'L'
            | b'F'
            | b'S'
            | b'U'
            | b'T'
            | b'B'
            | b'C'
            | b'G'
            | b'J'
            | b'K'
            | b'M'
            | b')'
            | b']'
            | b'}'
            | 0x88..=0x8b
            | 0x8e
            | 0x8f
            | 0x96
            | b'P' => self.stack.push(Value::Other),
            b'V' => self.stack.push(text(self.at - 1)),
            b'X' | 0x8c | 0x8d => self.stack.push(text(self.at)),
            // Tuples, lists and dictionaries of what stands above the mark; a frozen set.
            b't' | b'l' | b'd' | 0x91 => {
                self.pop_to_mark().ok_or_else(short)?;
                self.stack.push(Value::Other);
            }
            0x85..=0x87 => {
                self.pop(usize::from(instruction - 0x84)).ok_or_else(short)?;
                self.stack.push(Value::Other);
            }
            // The persistent identifier of a storage.
            b'Q' => {
                self.pop(1).ok_or_else(short)?;
                self.stack.push(Value::Other);
            }
            b'a' => {
                self.pop(1).ok_or_else(short)?;
                self.fill(b']').ok_or_else(short)?;
            }
            b's' => {
                self.pop(2).ok_or_else(short)?;
                self.fill(b'}').ok_or_else(short)?;
            }
            b'e' | 0x90 => {
                self.pop_to_mark().ok_or_else(short)?;
                self.fill(b']').ok_or_else(short)?;
            }
            b'u' => {
                self.pop_to_mark().ok_or_else(short)?;
                self.fill(b'}').ok_or_else(short)?;
            }
            // The state of an object, and what it is set on, which stays.
            b'b' => {
                self.pop(1).ok_or_else(short)?;
                if self.stack.is_empty() {
                    return Err(short());
                }
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let key = match instruction {
                    0x94 => self.memo.len() as u64,
                    _ => self.index(instruction, argument).ok_or_else(truncated)?,
                };
                self.memo.insert(key, *self.stack.last().ok_or_else(short)?);
            }
            b'g' | b'h' | b'j' => {
                let key = self.index(instruction, argument).ok_or_else(truncated)?;
                let unknown = || format!("its pickle refers to what it has not kept at byte {start}");
                self.stack.push(*self.memo.get(&key).ok_or_else(unknown)?);
            }
            b'c' => {
                let text = String::from_utf8_lossy(&self.pickle[argument..self.at]).into_owned();
                let mut lines = text.lines();
                let name = (lines.next().unwrap_or_default().into(), lines.next().unwrap_or_default().into());
                if let Some(refused) = self.name(name) {
                    return Ok(Some(refused));
                }
            }
            0x93 => {
                let (name, module) =
                    (self.stack.pop().ok_or_else(short)?, self.stack.pop().ok_or_else(short)?);
                let (Value::Text(name, name_end), Value::Text(module, module_end)) = (name, module) else {
                    return Err(format!("its pickle puts together what it calls at byte {start}"));
                };
                let text =
                    |from, to| String::from_utf8_lossy(&self.pickle[from as usize..to as usize]).into_owned();
                if let Some(refused) = self.name((text(module, module_end), text(name, name_end))) {
                    return Ok(Some(refused));
                }
            }
            // A call, or an object made of its class without one.
            b'R' | 0x81 | 0x92 => {
                self.pop(if instruction == 0x92 { 2 } else { 1 }).ok_or_else(short)?;
                let Value::Name(index) = self.stack.pop().ok_or_else(short)? else {
                    return Err(format!("its pickle puts together what it calls at byte {start}"));
                };
                let (module, name) = &self.names[index as usize];
                if instruction == b'R' && !is_harmless(module, name) {
                    return Ok(Some(Followed::Calls(format!("{module}.{name}"))));
                }
                if is_read(module, name) {
                    self.stack.push(Value::Other);
                } else {
                    // The callable and its arguments go, and an empty dictionary comes.
                    self.out.extend(std::iter::repeat_n(b'0', if instruction == 0x92 { 3 } else { 2 }));
                    self.stack.push(Value::Object(self.out.len() as u32));
                    self.out.push(b'}');
                    return Ok(None);
                }
            }
            // PROTO and FRAME: frames have another length in what is written.
            0x95 => return Ok(None),
            _ => {}
        }
        self.out.extend_from_slice(&self.pickle[start..self.at]);
        Ok(None)
    }

    /// Something that was looked up; what it is if it may do harm.
    fn name(&mut self, (module, name): (String, String)) -> Option<Followed> {
        if !is_harmless(&module, &name) && is_dangerous(&module) {
            return Some(Followed::Calls(format!("{module}.{name}")));
        }
        self.stack.push(Value::Name(self.names.len() as u32));
        self.names.push((module, name));
        None
    }

    /// Notes that items are put into the value on top: into an object, which then is of the kind that holds them.
    fn fill(&mut self, kind: u8) -> Option<()> {
        if let Value::Object(place) = *self.stack.last()? {
            self.out[place as usize] = kind;
            self.filled = true;
        }
        Some(())
    }

    fn pop(&mut self, count: usize) -> Option<()> {
        let rest = self.stack.len().checked_sub(count)?;
        self.stack.truncate(rest);
        Some(())
    }

    fn pop_to_mark(&mut self) -> Option<()> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark))?;
        self.stack.truncate(mark);
        Some(())
    }

    /// Goes over so many bytes; returns where they begin.
    fn take(&mut self, count: u64) -> Option<usize> {
        let from = self.at;
        let end = from.checked_add(usize::try_from(count).ok()?).filter(|end| *end <= self.pickle.len())?;
        self.at = end;
        Some(from)
    }

    fn line(&mut self) -> Option<()> {
        let length = self.pickle[self.at..].iter().position(|byte| *byte == b'\n')?;
        self.at += length + 1;
        Some(())
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        let from = self.take(width as u64)?;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.pickle[from..self.at]);
        Some(u64::from_le_bytes(bytes))
    }

    /// The number under which a value is kept.
    fn index(&self, instruction: u8, argument: usize) -> Option<u64> {
        let bytes = &self.pickle[argument..self.at];
        if matches!(instruction, b'p' | b'g') {
            return std::str::from_utf8(bytes).ok()?.trim().parse().ok();
        }
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(wide))
    }
}

fn arguments(instruction: u8) -> Option<Arguments> {
    Some(match instruction {
        b'.'
        | b'('
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
        | 0x8f..=0x94 => Arguments::Bytes(0),
        b'K' | b'h' | b'q' | 0x80 => Arguments::Bytes(1),
        b'M' => Arguments::Bytes(2),
        b'J' | b'j' | b'r' => Arguments::Bytes(4),
        b'G' | 0x95 => Arguments::Bytes(8),
        b'I' | b'L' | b'F' | b'S' | b'V' | b'g' | b'p' | b'P' => Arguments::Lines(1),
        b'c' => Arguments::Lines(2),
        b'U' | b'C' | 0x8a | 0x8c => Arguments::Counted(1),
        b'T' | b'X' | b'B' | 0x8b => Arguments::Counted(4),
        0x8d | 0x8e | 0x96 => Arguments::Counted(8),
        // INST and OBJ are of classes before Python 2.2, EXT of a registry that the file does not have, and the last two
        // of buffers outside of the file.
        _ => return None,
    })
}

fn is_harmless(module: &str, name: &str) -> bool {
    HARMLESS.iter().any(|(from, names)| *from == module && names.contains(&name))
        || module == "numpy.dtypes" && !name.contains('.')
}

fn is_dangerous(module: &str) -> bool {
    let within = |package: &str| {
        module == package || module.strip_prefix(package).is_some_and(|rest| rest.starts_with('.'))
    };
    // Classes of layers and optimizers are no part of `torch` itself.
    DANGEROUS.iter().any(|package| if *package == "torch" { module == "torch" } else { within(package) })
}

/// Whether the reader of tensors knows what this makes.
fn is_read(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("collections", "OrderedDict")
            | ("builtins" | "__builtin__", "set" | "frozenset")
            | ("torch._utils" | "torch._tensor" | "torch" | "torch.storage" | "torch.nn.parameter", _)
    )
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
