//! The call into the emulator's runtime, `emulator/runtime.cpp`.
#![expect(unsafe_code, reason = "calls C++")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use super::Order;
use crate::launch::{Arg, Grid, TensorMap};

/// The twin of `Options` in `machine.h`.
#[repr(C)]
struct Options {
    order: c_uint,
    workers: c_uint,
    seed: u64,
}

unsafe extern "C" {
    fn hrm_emulator_launch(
        name: *const c_char,
        signature: *const c_char,
        grid: *const c_uint,
        block: *const c_uint,
        shared_bytes: c_uint,
        arguments: *mut *mut c_void,
        options: *const Options,
        error: *mut c_char,
        error_len: usize,
    ) -> c_int;
}

/// An argument's bytes as C passes it, aligned for any type that is passed.
#[repr(C, align(64))]
struct Slot([u64; 16]);

/// An argument as C passes it, and its letter in a signature.
fn argument(arg: Arg) -> (Slot, u8) {
    let word = |bytes: [u8; 8], letter| {
        let mut words = [0; 16];
        words[0] = u64::from_ne_bytes(bytes);
        (Slot(words), letter)
    };
    let half = |half: [u8; 4], letter| {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&half);
        word(bytes, letter)
    };
    match arg {
        Arg::Ptr(at) => word(at.0.to_ne_bytes(), b'p'),
        Arg::I32(x) => half(x.to_ne_bytes(), b'i'),
        Arg::U64(x) => word(x.to_ne_bytes(), b'u'),
        Arg::F32(x) => half(x.to_ne_bytes(), b'f'),
        Arg::F64(x) => word(x.to_ne_bytes(), b'd'),
        Arg::TensorMap(map) => (Slot(encode(&map)), b't'),
    }
}

/// The twin of `Map` in `cluster.h`.
fn encode(map: &TensorMap) -> [u64; 16] {
    let mut words = [map.base.0; 16];
    let axes = map.axes.iter().flat_map(|axis| [axis.len, axis.stride, axis.boxed]);
    words[1..].iter_mut().zip(axes).for_each(|(word, x)| *word = x as u64);
    words
}

/// Runs a kernel to its end.
pub(super) fn launch(name: &str, grid: Grid, args: &[Arg], order: Order, workers: u32) -> Result<(), String> {
    let text = |words: Vec<u8>| CString::new(words).map_err(|_| format!("{name:?} is no kernel's name"));
    let (mut slots, letters): (Vec<Slot>, Vec<u8>) = args.iter().map(|arg| argument(*arg)).unzip();
    let (symbol, signature) = (text(name.into())?, text(letters)?);
    let mut arguments: Vec<*mut c_void> =
        slots.iter_mut().map(|slot| (&raw mut slot.0).cast::<c_void>()).collect();
    let (order, seed) = match order {
        Order::Forward => (0, 0),
        Order::Reverse => (1, 0),
        Order::Random(seed) => (2, seed),
    };
    let options = Options { order, workers, seed };
    let mut error = [0u8; 1024];
    // SAFETY: all pointers are of live, initialised memory of the lengths the runtime expects. It compares the
    // signature with the kernel's parameters before it reads an argument, so that it reads as many slots as there
    // are and each as its own type. Addresses that are passed in them are checked by guard pages when touched.
    let code = unsafe {
        hrm_emulator_launch(
            symbol.as_ptr(),
            signature.as_ptr(),
            grid.blocks.as_ptr(),
            grid.threads.as_ptr(),
            grid.shared,
            arguments.as_mut_ptr(),
            &raw const options,
            error.as_mut_ptr().cast(),
            error.len(),
        )
    };
    if code == 0 {
        return Ok(());
    }
    let said = CStr::from_bytes_until_nul(&error).map_or(String::new(), |s| s.to_string_lossy().into_owned());
    Err(said)
}
