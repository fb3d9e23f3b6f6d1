//! The conformance suite on the reference.

use hrm_core::backend::reference::{Owned, Reference, Rounding};
use hrm_core::plan::Plan;
use hrm_tests::suite::Subject;

struct Plain;

impl Subject for Plain {
    type Backend = Reference<f32, Owned<f32>>;
    const ROUNDING: Rounding = Rounding::None;

    fn backend(plan: &Plan) -> Result<Self::Backend, String> {
        Reference::owned(plan, Rounding::None).map_err(|error| error.to_string())
    }
}

hrm_tests::conformance!(Plain, cases: 24);

/// The reference in bf16 is its own measure; what is tested is that it writes, repeats and keeps rows apart.
mod bf16 {
    use super::*;

    struct Rounded;

    impl Subject for Rounded {
        type Backend = Reference<f32, Owned<f32>>;
        const ROUNDING: Rounding = Rounding::Bf16;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            Reference::owned(plan, Rounding::Bf16).map_err(|error| error.to_string())
        }
    }

    hrm_tests::conformance!(Rounded, cases: 6);
}
