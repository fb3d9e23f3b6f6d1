//! What libc would otherwise do: entry, system calls, and the memory functions that the compiler calls.
#![expect(unsafe_code, reason = "entry, system calls and C's memory functions")]

use core::arch::{asm, global_asm};

// The program runs on a stack of its own, so that its use can be measured.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "lea rsp, [{stack} + {size}]",
    "call {main}",
    "ud2",
    stack = sym crate::machine::STACK,
    size = const crate::machine::STACK_SIZE,
    main = sym crate::machine::start,
);

/// One system call of three arguments.
///
/// # Safety
/// What the arguments mean to the kernel must be sound: pointers valid for the length given with them.
unsafe fn system_call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result;
    // SAFETY: the registers are those of the system call convention, the stack is not touched.
    unsafe {
        asm!(
            "syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            out("rcx") _, out("r11") _, options(nostack),
        );
    }
    result
}

/// Writes some of `bytes` to standard output; how many, if it could.
pub fn write(bytes: &[u8]) -> Option<usize> {
    // SAFETY: pointer and length are those of a slice.
    usize::try_from(unsafe { system_call(1, 1, bytes.as_ptr() as usize, bytes.len()) }).ok()
}

/// Reads a byte from standard input; none at its end.
pub fn read() -> Option<u8> {
    let mut byte = 0u8;
    // SAFETY: there is one byte to write to.
    let count = unsafe { system_call(0, 0, &raw mut byte as usize, 1) };
    (count == 1).then_some(byte)
}

/// Ends the program.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit takes no pointer.
        unsafe { system_call(60, code as usize, 0, 0) };
    }
}

/// Does what the processor traps.
pub fn trap() -> ! {
    // SAFETY: ends the program by a signal.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear on entry.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= count {
        // SAFETY: copying upwards overwrites nothing that is still to be read.
        return unsafe { memcpy(to, from, count) };
    }
    // SAFETY: the caller vouches for both ranges; copying downwards from the last byte, and the flag is cleared again.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") count => _, inout("rdi") to.wrapping_add(count).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(count).wrapping_sub(1) => _, options(nostack),
        );
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the range; the direction flag is clear on entry.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let mut i = 0;
    while i < count {
        // SAFETY: the caller vouches for both ranges. Volatile, lest this becomes a call of itself.
        let (a, b) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        i += 1;
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, count) }
}

/// Named in the unwinding tables of the toolchain's core; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    exit(101)
}
