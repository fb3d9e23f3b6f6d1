//! The Q target of a pass that finishes first positions alone has the bits of a whole pass's.

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_tests::target;

#[test]
fn on_the_reference() {
    target::has_the_bits_of_a_whole_pass(|plan| Reference::<f32, _>::owned(plan, Rounding::None));
    target::has_the_bits_of_a_whole_pass(|plan| Reference::<f32, _>::owned(plan, Rounding::Bf16));
}

#[test]
fn on_the_cpu() {
    target::has_the_bits_of_a_whole_pass(Cpu::new);
}
