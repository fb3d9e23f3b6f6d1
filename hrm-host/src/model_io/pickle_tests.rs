//! Tests of [`super`].

use super::*;

fn calls(pickle: &[u8]) -> Option<String> {
    match follow(pickle).unwrap_or_else(|error| panic!("{error}: {:?}", pickle.escape_ascii().to_string())) {
        Followed::Calls(name) => Some(name),
        Followed::Harmless(_) => None,
    }
}

#[test]
fn a_call_is_found_wherever_it_stands() {
    let system = Some("posix.system".to_owned());
    for pickle in [
        &b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R."[..],
        // Computed and thrown away before an empty dictionary.
        b"cposix\nsystem\n(S'ls'\ntR0}.",
        // Looked up by texts, kept, and called later.
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x93\x94\x8c\x02ls\x85R.",
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x02ls\x85R.",
        // Only named, and instantiated.
        b"cposix\nsystem\n.",
        b"cposix\nsystem\n)\x81.",
    ] {
        assert_eq!(calls(pickle), system);
    }
    for (pickle, expected) in [
        (&b"ctorch\nload\n."[..], "torch.load"),
        (b"cbuiltins\neval\n(X\x01\0\0\x001tR0}.", "builtins.eval"),
        (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
        (b"cos.path\njoin\n.", "os.path.join"),
        (b"ctorch.storage\n_load_from_bytes\nC\x00\x85R.", "torch.storage._load_from_bytes"),
        (b"cfunctools\npartial\n.", "functools.partial"),
        // An unknown function, called.
        (b"c__main__\nmake\n)R.", "__main__.make"),
        // The kept name is another one than the text says by then.
        (b"ccollections\nOrderedDict\nq\x00c__main__\nmake\nq\x00h\x00)R.", "__main__.make"),
    ] {
        assert_eq!(calls(pickle).as_deref(), Some(expected));
    }
}

#[test]
fn what_does_no_harm_passes() {
    for pickle in [
        // A string that only looks like a name.
        &b"\x80\x02X\x0e\0\0\0cposix\nsystem\n0}."[..],
        b"\x80\x02ccollections\nOrderedDict\n)R.",
        // Objects of unknown classes, with attributes.
        b"\x80\x02c__main__\nConfig\n)\x81}X\x01\0\0\0aK\x01sb.",
        b"\x80\x04\x8c\x08__main__\x8c\x06Config\x93)\x81}\x8c\x01aK\x01sb.",
        b"\x80\x02comegaconf.dictconfig\nDictConfig\n)\x81}X\x04\0\0\0kindctyping\nAny\nsb.",
        b"\x80\x02cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\0\0\0f8\x89\x88\x87RC\x08\0\0\0\0\0\0\0\0\x86R.",
        b"\x80\x04\x95\x0c\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.",
    ] {
        assert_eq!(follow(pickle), Ok(Followed::Harmless(None)), "{:?}", pickle.escape_ascii().to_string());
    }
}

/// The reader of tensors knows no other dictionaries than plain ones; what fills them is kept.
#[test]
fn objects_that_are_filled_become_dictionaries_and_lists() {
    for (pickle, expected) in [
        (
            &b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RX\x01\0\0\0aK\x01s."[..],
            &b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x8500}X\x01\0\0\0aK\x01s."[..],
        ),
        (
            b"\x80\x04\x95\x00\0\0\0\0\0\0\0cbox\nBox\n)\x81(X\x01\0\0\0aK\x01u.",
            b"\x80\x04cbox\nBox\n)00}(X\x01\0\0\0aK\x01u.",
        ),
        (b"ccollections\ndeque\n)R(K\x01K\x02e.", b"ccollections\ndeque\n)00](K\x01K\x02e."),
        (b"cbox\nBox\n)}\x92X\x01\0\0\0aK\x01s.", b"cbox\nBox\n)}000}X\x01\0\0\0aK\x01s."),
    ] {
        assert_eq!(follow(pickle), Ok(Followed::Harmless(Some(expected.to_vec()))));
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    for bad in [
        &b""[..],
        b"\x80",
        b"}",
        b"cposix\nsys",
        b"X\xff\xff\xff\xff.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"i",
        b"\x82\x01.",
        b"\x97.",
        b"\xff.",
        // A name that is computed, what is called is computed, and what is not there.
        b"\x80\x04)\x8c\x06system\x93.",
        b"})R.",
        b"h\x00.",
        b"0.",
        b"R.",
        b"t.",
        b"\x81.",
        b"K\x01s.",
        b"b.",
        b"q\x00.",
    ] {
        assert!(follow(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
    }
}
