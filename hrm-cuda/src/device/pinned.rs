//! Page-locked memory of the host, which the device copies from and to while the host goes on.
#![expect(unsafe_code, reason = "the driver hands out memory as pointers")]

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::During;
use crate::error::Error;

/// Page-locked memory.
pub(super) struct Pinned {
    start: NonNull<u8>,
    len: usize,
    context: Arc<CudaContext>,
}

impl Pinned {
    /// `len` bytes, zeroed.
    pub fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self, Error> {
        let during = || format!("allocation of {len} bytes of page-locked memory of the host");
        context.bind_to_thread().during(during)?;
        // SAFETY: plain cached memory of the host, given back when dropped.
        let start = unsafe { result::malloc_host(len, 0) }.during(during)?;
        let start = NonNull::new(start.cast::<u8>())
            .ok_or_else(|| Error::Device { action: during(), reason: "the driver gives none".into() })?;
        // SAFETY: the driver has just given us `len` bytes from `start` on.
        unsafe { start.write_bytes(0, len) };
        Ok(Self { start, len, context: context.clone() })
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    /// Its bytes. No copy of the device to it may be under way.
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is ours and was zeroed when it was new.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Its bytes, to write. No copy of the device from or to those that are written may be under way.
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: allocated by `malloc_host`, and not used again. The launcher has waited for its stream.
        self.context.record_err(unsafe { result::free_host(self.start.as_ptr().cast()) });
    }
}

/// Where bytes wait until the device has copied them: a few segments, filled one after the other.
pub(super) struct Ring {
    segments: Vec<Segment>,
    current: usize,
    used: usize,
}

struct Segment {
    memory: Pinned,
    /// Recorded when the segment is full: everything in it is copied once this has happened.
    copied: CudaEvent,
}

impl Ring {
    /// The most that can be staged at once.
    pub const PIECE: usize = 4 << 20;
    const SEGMENTS: usize = 4;

    pub fn new(context: &Arc<CudaContext>) -> Result<Self, Error> {
        let segment = || {
            let copied = context.new_event(None).during(|| "creation of an event".into())?;
            Ok(Segment { memory: Pinned::new(context, Self::PIECE)?, copied })
        };
        let segments = (0..Self::SEGMENTS).map(|_| segment()).collect::<Result<_, Error>>()?;
        Ok(Self { segments, current: 0, used: 0 })
    }

    /// A copy of up to [`PIECE`](Self::PIECE) bytes in page-locked memory, which stays as it is until all that
    /// `stream` was told before the segment's turn comes again is done. Waits only if the device is so far behind.
    pub fn stage(&mut self, stream: &CudaStream, bytes: &[u8]) -> Result<&[u8], Error> {
        if self.used + bytes.len() > Self::PIECE {
            let full = &self.segments[self.current].copied;
            full.record(stream).during(|| "mark of a full upload segment".into())?;
            self.current = (self.current + 1) % Self::SEGMENTS;
            let free = &self.segments[self.current].copied;
            free.synchronize().during(|| "wait for earlier uploads".into())?;
            self.used = 0;
        }
        let range = self.used..self.used + bytes.len();
        // The next piece begins at a multiple of 64 bytes, which is what the bus moves at a time.
        self.used = range.end.next_multiple_of(64);
        let place = &mut self.segments[self.current].memory.bytes_mut()[range];
        place.copy_from_slice(bytes);
        Ok(place)
    }
}

/// Where copies from the device arrive.
#[derive(Default)]
pub(super) struct Landings {
    landings: Vec<Landing>,
}

/// Memory for one copy at a time.
pub(super) struct Landing {
    pub memory: Pinned,
    /// Recorded behind the copy.
    pub arrived: CudaEvent,
    taken: bool,
}

impl Landings {
    /// The number of a landing of at least `bytes` bytes, which is taken from now on.
    pub fn take(&mut self, context: &Arc<CudaContext>, bytes: usize) -> Result<usize, Error> {
        let free = |landing: &Landing| !landing.taken && landing.memory.len() >= bytes;
        if let Some(slot) = self.landings.iter().position(free) {
            self.landings[slot].taken = true;
            return Ok(slot);
        }
        let memory = Pinned::new(context, bytes.next_multiple_of(4 << 10))?;
        let arrived = context.new_event(None).during(|| "creation of an event".into())?;
        self.landings.push(Landing { memory, arrived, taken: true });
        Ok(self.landings.len() - 1)
    }

    /// A landing that is taken.
    pub fn get(&mut self, slot: usize) -> Result<&mut Landing, Error> {
        let landing = self.landings.get_mut(slot).filter(|landing| landing.taken);
        landing.ok_or_else(|| Error::Operand(format!("there is no fetch {slot} of this launcher under way")))
    }

    /// Gives a landing back.
    pub fn release(&mut self, slot: usize) {
        if let Some(landing) = self.landings.get_mut(slot) {
            landing.taken = false;
        }
    }
}
