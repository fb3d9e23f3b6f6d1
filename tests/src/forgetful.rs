//! A backend that leaves nothing where nothing is promised.

use hrm_core::arena::{Act, Ids, Param};
use hrm_core::kernels::{
    AddRmsNorm, Argmax, Attention, Embed, Kernels, Linear, LinearAddRmsNorm, LinearQkv, LinearSwiGlu, Memory,
    Plus, QHead, Region, SwiGlu,
};

/// A backend of which a result that [`Plus`] does not keep is not a number afterwards: who reads it shows.
#[derive(Debug)]
pub struct Forgetful<K>(
    /// Who does the work.
    pub K,
);

/// Hands methods on.
macro_rules! handed_on {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> Result<(), K::Error> {
            self.0.$name($($argument),*)
        })*
    };
}

impl<K: Memory> Memory for Forgetful<K> {
    type Error = K::Error;
    handed_on! {
        fn read(region: Region, offset: usize, out: &mut [f32]);
        fn write(region: Region, offset: usize, values: &[f32]);
        fn read_ids(offset: usize, out: &mut [i32]);
        fn write_ids(offset: usize, values: &[i32]);
    }
}

impl<K: Kernels> Kernels for Forgetful<K> {
    handed_on! {
        fn embed(op: &Embed);
        fn add(y: Act, a: Act, b: Act);
        fn linear(op: &Linear);
        fn rope_attention(op: &Attention);
        fn linear_qkv(op: &LinearQkv);
        fn attention(op: &Attention);
        fn swiglu(op: &SwiGlu);
        fn add_rms_norm(op: &AddRmsNorm);
        fn linear_swiglu(op: &LinearSwiGlu);
        fn q_head(op: &QHead);
        fn reset_rows(z: Act, init: Param, halted: Ids);
        fn replace_rows(current: Ids, incoming: Ids, halted: Ids);
        fn argmax(op: &Argmax);
    }

    fn linear_add_rms_norm(&mut self, op: &LinearAddRmsNorm) -> Result<(), K::Error> {
        self.0.linear_add_rms_norm(op)?;
        match op.plus {
            Some(Plus { keep: false, .. }) => {
                self.0.write(Region::Acts, op.y.offset, &vec![f32::NAN; op.y.len()])
            }
            _ => Ok(()),
        }
    }

    fn poll(&mut self) {
        self.0.poll();
    }
}
