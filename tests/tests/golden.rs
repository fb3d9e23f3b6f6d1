//! The published program's numbers, on the reference.

use hrm_core::backend::reference::{Error, Owned, Reference, Rounding};
use hrm_core::plan::Plan;
use hrm_core::scalar::Scalar;
use hrm_host::golden::{self, Check};

fn reference<T: Scalar>(rounding: Rounding) -> impl Fn(&Plan) -> Result<Reference<T, Owned<T>>, Error> {
    move |plan| Reference::owned(plan, rounding)
}

/// Runs `check` on the golden directory and asks that every verdict be good.
fn passes(check: impl Fn(&std::path::Path) -> Result<golden::Report, golden::Error>) {
    let report = check(&hrm_tests::golden_dir()).unwrap_or_else(|error| panic!("{error}"));
    for check in &report.checks {
        println!("{check}");
    }
    let misses: Vec<_> = report.misses().map(Check::to_string).collect();
    assert!(report.passed(), "{} of {} missed:\n{}", misses.len(), report.checks.len(), misses.join("\n"));
}

#[test]
fn the_f32_reference_agrees() {
    passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f32>(Rounding::None)));
}

#[test]
fn the_f64_reference_agrees() {
    passes(|dir| golden::check_f32(dir, &mut |_| (), reference::<f64>(Rounding::None)));
}

#[test]
fn the_bf16_reference_agrees() {
    passes(|dir| golden::check_bf16(dir, &mut |_| (), reference::<f32>(Rounding::Bf16)));
}
