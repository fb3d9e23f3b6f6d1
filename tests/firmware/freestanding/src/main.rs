//! The firmware as a program of x86-64 Linux: system calls in place of an operating system's libraries.
#![no_std]
#![no_main]

mod machine;
mod system;
