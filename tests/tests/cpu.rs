//! The conformance suite on the multi-threaded CPU backend.

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::reference::Rounding;
use hrm_core::plan::Plan;
use hrm_tests::suite::Subject;

struct CpuSubject;

impl Subject for CpuSubject {
    type Backend = Cpu;
    const ROUNDING: Rounding = Rounding::None;

    fn backend(plan: &Plan) -> Result<Cpu, String> {
        Cpu::new(plan).map_err(|error| error.to_string())
    }
}

hrm_tests::conformance!(CpuSubject, cases: 24);

#[test]
fn the_published_numbers_agree() {
    hrm_tests::golden_passes(|dir| hrm_host::golden::check_f32(dir, &mut |_| (), Cpu::new));
}

#[test]
fn the_published_numbers_of_trm_agree() {
    hrm_tests::trm_golden_passes(|dir| hrm_host::golden::check_f32(dir, &mut |_| (), Cpu::new));
}
