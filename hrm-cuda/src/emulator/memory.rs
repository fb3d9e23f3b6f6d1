//! Host memory in place of a device's: every allocation lies between pages that nobody may touch, and begins as NaN.
#![expect(unsafe_code, reason = "maps memory, and hands it out by address")]

use std::ptr::NonNull;

use crate::error::Error;
use crate::launch::Ptr;

const PAGE: usize = 4096;
/// What [`Launcher::alloc`](crate::launch::Launcher::alloc) promises.
const ALIGN: usize = 256;
/// NaN as bf16 and as f32, -1 as an integer.
const POISON: u8 = 0xff;

/// All allocations of an emulator.
#[derive(Debug, Default)]
pub(super) struct Memory {
    regions: Vec<Region>,
}

/// A mapping: a guard page, pages to use, a guard page. The allocation ends as close to the second guard as its
/// alignment allows; the tail between them stays poison.
#[derive(Debug)]
struct Region {
    mapping: NonNull<u8>,
    mapped: usize,
    start: NonNull<u8>,
    len: usize,
    tail: usize,
}

// SAFETY: a region owns its mapping; it is reached through the one `Memory` that holds it.
unsafe impl Send for Region {}

impl Region {
    fn new(len: usize) -> Result<Self, Error> {
        let too_large = || Error::Device {
            action: format!("allocation of {len} bytes"),
            reason: "there is not so much memory".into(),
        };
        let taken = len.max(1).checked_next_multiple_of(ALIGN).ok_or_else(too_large)?;
        let pages = taken.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
        let mapped = pages.checked_add(2 * PAGE).ok_or_else(too_large)?;
        // SAFETY: an anonymous mapping at an address of the system's choice touches nothing that exists.
        let mapping = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        let mapping = NonNull::new(mapping.cast::<u8>())
            .filter(|_| mapping != libc::MAP_FAILED)
            .ok_or_else(too_large)?;
        // SAFETY: the offset lies within the mapping.
        let start = unsafe { mapping.add(PAGE + pages - taken) };
        let region = Self { mapping, mapped, start, len, tail: taken - len };
        // SAFETY: the pages between the guards belong to the mapping, which nothing refers to yet.
        unsafe {
            let usable = mapping.add(PAGE);
            if libc::mprotect(usable.as_ptr().cast(), pages, libc::PROT_READ | libc::PROT_WRITE) != 0 {
                return Err(too_large());
            }
            start.write_bytes(POISON, taken);
        }
        Ok(region)
    }

    fn tail(&self) -> &[u8] {
        // SAFETY: the tail lies within the mapping, behind the allocation; `new` has initialised it.
        unsafe { std::slice::from_raw_parts(self.start.add(self.len).as_ptr(), self.tail) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is the region's own, of this length, and goes with it.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapped) };
    }
}

impl Memory {
    /// A new allocation.
    pub(super) fn alloc(&mut self, bytes: usize) -> Result<Ptr, Error> {
        let region = Region::new(bytes)?;
        let at = Ptr(region.start.as_ptr() as u64);
        self.regions.push(region);
        Ok(at)
    }

    /// The region in which `len` bytes from `at` on lie, and how far from its start.
    fn find(&self, at: Ptr, len: usize) -> Result<(&Region, usize), Error> {
        let within = |region: &Region| {
            let offset = at.0.checked_sub(region.start.as_ptr() as u64)? as usize;
            (offset.checked_add(len)? <= region.len).then_some(offset)
        };
        let found = self.regions.iter().find_map(|region| Some((region, within(region)?)));
        found.ok_or_else(|| Error::Operand(format!("{len} bytes at {:#x} lie in no allocation", at.0)))
    }

    /// `len` bytes from `at` on.
    pub(super) fn bytes(&self, at: Ptr, len: usize) -> Result<&[u8], Error> {
        let (region, offset) = self.find(at, len)?;
        // SAFETY: within the allocation, which is initialised; kernels, which write to it, run only while the
        // emulator is borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts(region.start.add(offset).as_ptr(), len) })
    }

    /// The same, for writing.
    pub(super) fn bytes_mut(&mut self, at: Ptr, len: usize) -> Result<&mut [u8], Error> {
        let (region, offset) = self.find(at, len)?;
        // SAFETY: as above, and borrowed exclusively.
        Ok(unsafe { std::slice::from_raw_parts_mut(region.start.add(offset).as_ptr(), len) })
    }

    /// Fails if something wrote between the end of an allocation and its guard page.
    pub(super) fn check_tails(&self) -> Result<(), String> {
        for region in &self.regions {
            if let Some(at) = region.tail().iter().position(|&byte| byte != POISON) {
                return Err(format!(
                    "the kernel wrote {at} bytes past the end of an allocation of {} bytes",
                    region.len
                ));
            }
        }
        Ok(())
    }
}
