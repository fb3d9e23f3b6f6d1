//! What an operating system would otherwise do for a program: the entry point, output, exit, and the memory
//! functions that the compiler calls. x86-64 Linux. The only unsafe code of the test.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym enter,
);

extern "C" fn enter() -> ! {
    exit(crate::main())
}

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

fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit takes no pointer.
        unsafe { system_call(60, code as usize, 0, 0) };
    }
}

/// Standard output, unbuffered.
pub struct Stdout;

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: the pointer and length are those of a slice.
            let written = unsafe { system_call(1, 1, rest.as_ptr() as usize, rest.len()) };
            rest = usize::try_from(written).ok().and_then(|n| rest.get(n..)).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

/// A static value that is lent out once, for good.
pub struct Once<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `take` gives out at most one reference.
unsafe impl<T: Send> Sync for Once<T> {}

impl<T> Once<T> {
    /// Holds `value`.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, the first time.
    pub fn take(&'static self) -> Option<&'static mut T> {
        let first = !self.taken.swap(true, Ordering::AcqRel);
        // SAFETY: only the first caller gets here, so the reference is the only one.
        first.then(|| unsafe { &mut *self.value.get() })
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
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
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, count: usize) -> i32 {
    let different: u32;
    // SAFETY: the caller vouches for both ranges; the direction flag is clear on entry.
    unsafe {
        asm!(
            "xor eax, eax", "repe cmpsb", "setne al", out("eax") different,
            inout("rcx") count => _, inout("rdi") a => _, inout("rsi") b => _, options(nostack),
        );
    }
    different as i32
}

/// Named in the unwinding tables of the toolchain's core; nothing unwinds here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    exit(101)
}
