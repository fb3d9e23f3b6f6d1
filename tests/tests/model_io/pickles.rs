//! Checkpoints written by hand, instruction by instruction.

use std::fs;
use std::io::Write;
use std::path::Path;

use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::{Tensor, TensorName};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::SMALL;

/// A checkpoint with this pickle and these storages.
pub fn checkpoint(path: &Path, pickle: &[u8], storages: &[(&str, &[u8])]) {
    let mut archive = ZipWriter::new(fs::File::create(path).unwrap());
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in [("data.pkl", pickle), ("byteorder", b"little")].iter().chain(storages) {
        archive.start_file(format!("archive/{name}"), deflated).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// A short string.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn number(number: i32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

/// The instructions that build an f32 tensor over storage 0.
pub fn tensor(elements: i32, offset: i32, shape: [i32; 2], stride: [i32; 2]) -> Vec<u8> {
    let pair = |pair: [i32; 2]| [number(pair[0]), number(pair[1]), vec![0x86]].concat();
    view(elements, offset, &pair(shape), &pair(stride))
}

/// The same with shape and stride as instructions.
pub fn view(elements: i32, offset: i32, shape: &[u8], stride: &[u8]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(),
        b"(".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        number(elements),
        b"tQ".to_vec(),
        number(offset),
        shape.to_vec(),
        stride.to_vec(),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// A pickle of a dictionary with one entry.
pub fn dictionary(name: &str, value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}".to_vec(), text(name), value.to_vec(), b"s.".to_vec()].concat()
}

/// A state dict of [`SMALL`] whose tensors all lie over one storage of zeros.
pub fn zeros(puzzles: i32) -> Vec<u8> {
    let plan = Plan::new(&SMALL, 1, Mode::Inference).unwrap();
    let mut pickle = b"\x80\x02}".to_vec();
    for wanted in plan.params.tensors() {
        let (rows, cols) = (wanted.span.rows as i32, wanted.span.cols as i32);
        let rows = if wanted.name == TensorName::PuzzleEmb { puzzles } else { rows };
        pickle.extend(text(&wanted.name.to_string()));
        if wanted.is_vector() {
            let (shape, stride) = ([number(cols), vec![0x85]].concat(), [number(1), vec![0x85]].concat());
            pickle.extend(view(1024, 0, &shape, &stride));
        } else {
            pickle.extend(tensor(1024, 0, [rows, cols], [cols, 1]));
        }
        pickle.push(b's');
    }
    pickle.push(b'.');
    pickle
}

/// The numbers 0 to 4095, over which the tensors of [`model`] lie.
pub fn storage() -> Vec<u8> {
    (0..4096u16).flat_map(|i| f32::from(i).to_le_bytes()).collect()
}

/// What [`model`] gives element `i` of tensor `number`.
pub fn value(shift: i32, number: usize, i: usize) -> f32 {
    (shift as usize + number + i) as f32
}

/// The items of a state dict of [`SMALL`], for a dictionary that is on the stack. Names begin with `before`.
pub fn model(before: &str, shift: i32) -> Vec<u8> {
    let plan = Plan::new(&SMALL, 1, Mode::Inference).unwrap();
    let item = |(number, tensor): (usize, Tensor)| {
        let (rows, cols) = (tensor.span.rows as i32, tensor.span.cols as i32);
        let name = text(&format!("{before}{}", tensor.name));
        let at = shift + number as i32;
        let value = if tensor.is_vector() {
            let one = |n: i32| [number_of(n), vec![0x85]].concat();
            view(4096, at, &one(cols), &one(1))
        } else {
            let pair = |a: i32, b: i32| [number_of(a), number_of(b), vec![0x86]].concat();
            view(4096, at, &pair(rows, cols), &pair(cols, 1))
        };
        [name, value, b"s".to_vec()].concat()
    };
    plan.params.tensors().enumerate().flat_map(item).collect()
}

fn number_of(n: i32) -> Vec<u8> {
    number(n)
}

/// An item of a dictionary: its name, and instructions that make its value.
pub fn item(name: &str, value: &[u8]) -> Vec<u8> {
    [text(name), value.to_vec(), b"s".to_vec()].concat()
}

/// A dictionary of items.
pub fn dict(items: &[Vec<u8>]) -> Vec<u8> {
    [b"}".to_vec(), items.concat()].concat()
}

/// A checkpoint of this value, in protocol 2.
pub fn saved(path: &Path, value: &[u8]) {
    checkpoint(
        path,
        &[b"\x80\x02".to_vec(), value.to_vec(), b".".to_vec()].concat(),
        &[("data/0", &storage())],
    );
}
