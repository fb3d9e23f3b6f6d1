//! A crate that asks for alloc. With a sysroot that has none it must not build.
#![no_std]

extern crate alloc;

/// A value on the heap.
#[must_use]
pub fn boxed(value: u32) -> alloc::boxed::Box<u32> {
    alloc::boxed::Box::new(value)
}
