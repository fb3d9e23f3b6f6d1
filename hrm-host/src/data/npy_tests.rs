//! Tests of [`super`].

use super::*;
use proptest::prelude::*;
use std::fs;

fn header(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes.extend(data);
    bytes
}

fn open(bytes: &[u8]) -> Result<Npy> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    fs::write(&path, bytes).unwrap();
    Npy::open(&path)
}

/// The bytes that `numpy.save` writes for `np.array([[1, 2, 3], [4, 5, 6]], np.uint8)`.
#[test]
fn written_bytes_are_those_of_numpy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    let mut writer = NpyWriter::create(&path, Dtype::U8, Some(3)).unwrap();
    writer.write(&[1, 2, 3]).unwrap();
    assert!(!path.exists());
    writer.write(&[4, 5, 6]).unwrap();
    writer.finish().unwrap();
    let mut expected =
        b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
    expected.resize(127, b' ');
    expected.extend(b"\n\x01\x02\x03\x04\x05\x06");
    assert_eq!(fs::read(&path).unwrap(), expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn an_abandoned_array_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = NpyWriter::create(&dir.path().join("a.npy"), Dtype::I32, None).unwrap();
    writer.write(&[1]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn version_2_and_unusual_spacing_are_read() {
    let dict = "{\"shape\":(2,),'fortran_order':True , 'descr' : '<i2'}";
    let mut bytes = MAGIC.to_vec();
    bytes.extend([2, 0]);
    bytes.extend((dict.len() as u32).to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes.extend([0xff, 0xff, 2, 1]);
    let npy = open(&bytes).unwrap();
    assert_eq!((npy.dtype(), npy.shape()), (Dtype::I16, &[2][..]));
    assert_eq!((npy.get(0), npy.get(1), npy.get(2)), (Some(-1), Some(258), None));
}

#[test]
fn bad_headers_name_the_field() {
    let good = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
    assert!(open(&header(good, &[0; 8])).is_ok());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "magic"),
        (b"PK\x03\x04..".to_vec(), "magic"),
        (MAGIC.to_vec(), "header"),
        (header(good, &[])[..30].to_vec(), "header"),
        ([MAGIC, &[9u8, 0, 0, 0][..]].concat(), "version"),
        (header(&good.replace("<i4", "<f4"), &[0; 8]), "descr"),
        (header(&good.replace("<i4", "|O"), &[0; 8]), "descr"),
        (header(&good.replace("descr", "dtype"), &[0; 8]), "descr"),
        (header(&good.replace("(2,)", "(-2,)"), &[0; 8]), "shape"),
        (header(&good.replace("(2,)", "2"), &[0; 8]), "shape"),
        (header(&good.replace("(2,)", "(9999999999, 9999999999)"), &[0; 8]), "shape"),
        (header(&good.replace("False", "Maybe"), &[0; 8]), "fortran_order"),
        (header(good, &[0; 7]), "length of the file"),
        (header(good, &[0; 9]), "length of the file"),
    ];
    for (bytes, expected) in cases {
        match open(&bytes) {
            Err(Error::Format { field, place: Place::File, path, .. }) => {
                assert_eq!(field, expected);
                assert!(path.ends_with("a.npy"));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

/// Element `i` of an array of any order is that of the same array in C order: `np.arange(24).reshape(2, 3, 4)`.
#[test]
fn every_order_reads_alike() {
    let (shape, count) = ([2usize, 3, 4], 24usize);
    for (descr, size) in [("u1", 1usize), ("i2", 2), ("u4", 4), ("i8", 8)] {
        for (mark, big) in [('<', false), ('>', true)] {
            for fortran in [false, true] {
                let mut data = vec![0u8; count * size];
                for i in 0..count {
                    let [a, b, c] = [i / 12, i / 4 % 3, i % 4];
                    let place = if fortran { a + shape[0] * (b + shape[1] * c) } else { i };
                    data[place * size + if big { size - 1 } else { 0 }] = i as u8;
                }
                let order = if fortran { "True" } else { "False" };
                let dict =
                    format!("{{'descr': '{mark}{descr}', 'fortran_order': {order}, 'shape': (2, 3, 4), }}");
                let npy = open(&header(&dict, &data)).unwrap();
                let mut read = vec![0; count];
                npy.read(0, &mut read).unwrap();
                assert_eq!(read, (0..count as i32).collect::<Vec<_>>(), "{dict}");
                npy.read(7, &mut read[..5]).unwrap();
                assert_eq!(read[..5], [7, 8, 9, 10, 11], "{dict}");
                assert_eq!((npy.get(23), npy.get(24)), (Some(23), None), "{dict}");
            }
        }
    }
    let truth = open(&header("{'descr': '|b1', 'fortran_order': True, 'shape': (0, 3), }", &[])).unwrap();
    assert_eq!((truth.len(), truth.get(0)), (0, None));
}

#[test]
fn what_is_no_array_is_named_with_the_way_out() {
    for (bytes, expected) in [
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "git lfs pull"),
        (b"<html>", "a web page"),
        (
            &header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]),
            "array.astype(\"<i4\")",
        ),
    ] {
        let error = open(bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn values_outside_i32_and_ranges_outside_the_array_are_errors() {
    let dict = "{'descr': '<u8', 'fortran_order': False, 'shape': (2, 1), }";
    let npy = open(&header(dict, &[[1, 0, 0, 0, 0, 0, 0, 0], [0xff; 8]].concat())).unwrap();
    let mut one = [0];
    npy.read(0, &mut one).unwrap();
    assert_eq!(one, [1]);
    assert!(matches!(npy.read(1, &mut one), Err(Error::Format { place: Place::Row(1), .. })));
    assert!(matches!(npy.read(2, &mut one), Err(Error::Argument { .. })));
    assert!(matches!(npy.read(usize::MAX, &mut one), Err(Error::Argument { .. })));
}

#[test]
fn values_that_do_not_fit_the_element_type_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npy");
    let mut writer = NpyWriter::create(&path, Dtype::U8, Some(2)).unwrap();
    assert!(matches!(writer.write(&[256]), Err(Error::Argument { .. })));
    assert!(matches!(writer.write(&[-1]), Err(Error::Argument { .. })));
    writer.write(&[1]).unwrap();
    assert!(matches!(writer.finish(), Err(Error::Argument { .. })));
}

proptest! {
    #[test]
    fn round_trip(values in prop::collection::vec(any::<i32>(), 0..200), dtype in 0usize..8, columns in 1usize..5) {
        let dtype = Dtype::ALL[dtype];
        let values: Vec<i32> = values
            .into_iter()
            .map(|v| match dtype {
                Dtype::U8 => v & 0xff,
                Dtype::I8 => v as i8 as i32,
                Dtype::U16 => v & 0xffff,
                Dtype::I16 => v as i16 as i32,
                Dtype::U32 | Dtype::U64 => v & i32::MAX,
                Dtype::I32 | Dtype::I64 => v,
            })
            .collect();
        let values = &values[..values.len() / columns * columns];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut writer = NpyWriter::create(&path, dtype, Some(columns)).unwrap();
        writer.write(values).unwrap();
        writer.finish().unwrap();
        let npy = Npy::open(&path).unwrap();
        prop_assert_eq!(npy.shape(), &[values.len() / columns, columns][..]);
        let mut read = vec![0; values.len()];
        npy.read(0, &mut read).unwrap();
        prop_assert_eq!(&read[..], values);
        for (i, &value) in values.iter().enumerate() {
            prop_assert_eq!(npy.get(i), Some(i64::from(value)));
        }
    }
}
