//! A forward pass, which forms sums where levels end, has the bits of its formula, which forms them by themselves.

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_tests::cycles::{self, CYCLES, SMALL};

#[test]
fn on_the_reference() {
    cycles::follow_the_formula(&SMALL, &CYCLES, |plan| Reference::<f32, _>::owned(plan, Rounding::None));
    cycles::follow_the_formula(&SMALL, &CYCLES, |plan| Reference::<f32, _>::owned(plan, Rounding::Bf16));
}

#[test]
fn on_the_cpu() {
    cycles::follow_the_formula(&SMALL, &CYCLES, Cpu::new);
}

#[test]
fn in_tiles() {
    cycles::follow_the_formula_in_tiles(&SMALL, &CYCLES, |plan| {
        Reference::<f32, _>::owned(plan, Rounding::None)
    });
    cycles::follow_the_formula_in_tiles(&SMALL, &CYCLES, Cpu::new);
}
