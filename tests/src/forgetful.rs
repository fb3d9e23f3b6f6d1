//! A backend that leaves nothing where nothing is promised.

use hrm_core::kernels::op::{Observed, Observer, Op};
use hrm_core::kernels::{Keep, Memory, Plus, Region};

/// Makes what a kernel does not keep no number: who reads it shows.
#[derive(Clone, Copy, Debug)]
pub struct Forget;

/// A backend of which a result that [`Plus`] does not keep is not a number afterwards.
pub type Forgetful<K> = Observed<K, Forget>;

/// `backend`, forgetful.
pub const fn forgetful<K>(backend: K) -> Forgetful<K> {
    Observed { backend, observer: Forget }
}

impl<K: Memory> Observer<K> for Forget {
    fn around(
        &mut self,
        k: &mut K,
        op: Op,
        run: impl FnOnce(&mut K) -> Result<(), K::Error>,
    ) -> Result<(), K::Error> {
        run(k)?;
        match op {
            Op::LinearAddRmsNorm(op) if matches!(op.plus, Some(Plus { keep: Keep::Nothing, .. })) => {
                k.write(Region::Acts, op.y.offset, &vec![f32::NAN; op.y.len()])
            }
            _ => Ok(()),
        }
    }
}
