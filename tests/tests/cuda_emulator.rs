//! The CUDA backend on the emulator: the kernels, launch sites and arenas of the GPU, without one.

use hrm_core::backend::reference::Rounding;
use hrm_core::plan::Plan;
use hrm_cuda::backend::{Cuda, Precision};
use hrm_cuda::emulator::{Emulator, Order};
use hrm_cuda::error::Error;
use hrm_host::golden;
use hrm_tests::cuda;
use hrm_tests::cycles;
use hrm_tests::steps;
use hrm_tests::suite::Subject;
use hrm_tests::target;

fn backend(plan: &Plan, precision: Precision) -> Result<Cuda<Emulator>, Error> {
    Cuda::new(Emulator::new(Order::Random(17)), plan, precision)
}

fn emulator() -> Result<Emulator, Error> {
    Ok(Emulator::new(Order::Random(17)))
}

mod f32 {
    use super::*;

    struct F32;

    impl Subject for F32 {
        type Backend = Cuda<Emulator>;
        const ROUNDING: Rounding = Rounding::None;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            super::backend(plan, Precision::F32).map_err(|error| error.to_string())
        }
    }

    hrm_tests::conformance!(F32, cases: 3);
}

mod bf16 {
    use super::*;

    struct Bf16;

    impl Subject for Bf16 {
        type Backend = Cuda<Emulator>;
        const ROUNDING: Rounding = Rounding::Bf16;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            super::backend(plan, Precision::Bf16).map_err(|error| error.to_string())
        }
    }

    hrm_tests::conformance!(Bf16, cases: 3);

    #[test]
    fn products_of_few_columns() {
        hrm_tests::suite::products_of_few_columns::<Bf16>();
    }
}

/// With what is for compute capability 9.0. `hrm-cuda`'s own tests run attention and products there in every order.
mod hopper {
    use super::*;

    struct Hopper;

    impl Subject for Hopper {
        type Backend = Cuda<Emulator>;
        const ROUNDING: Rounding = Rounding::Bf16;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            let made = Cuda::new(Emulator::hopper(Order::Random(17)), plan, Precision::Bf16);
            made.map_err(|error| error.to_string())
        }
    }

    #[test]
    fn products_at_widths_of_tiles() {
        hrm_tests::suite::products_at_widths_of_tiles::<Hopper>();
    }

    #[test]
    fn qkv_at_widths_of_tiles() {
        hrm_tests::suite::qkv_at_widths_of_tiles::<Hopper>();
    }

    #[test]
    fn training_agrees_with_the_reference() {
        cuda::training_agrees_with_the_reference(|| Ok(Emulator::hopper(Order::Random(17))));
    }
}

#[test]
fn the_q_target_has_the_bits_of_a_whole_pass() {
    target::has_the_bits_of_a_whole_pass(|plan| backend(plan, Precision::F32));
    target::has_the_bits_of_a_whole_pass(|plan| backend(plan, Precision::Bf16));
    let hopper = || Emulator::hopper(Order::Random(17));
    target::has_the_bits_of_a_whole_pass(|plan| Cuda::new(hopper(), plan, Precision::Bf16));
}

#[test]
fn a_forward_pass_follows_its_formula() {
    let hopper = || Emulator::hopper(Order::Random(17));
    cycles::follow_the_formula(&cycles::WIDE, &[(2, 2)], |plan| Cuda::new(hopper(), plan, Precision::Bf16));
}

#[test]
fn the_published_numbers_of_trm_agree() {
    hrm_tests::small_trm_golden_passes(|dir| {
        golden::check_f32(dir, &mut |_| (), |plan| backend(plan, Precision::F32))
    });
    hrm_tests::small_trm_golden_passes(|dir| {
        golden::check_bf16(dir, &mut |_| (), |plan| backend(plan, Precision::Bf16))
    });
}

#[test]
fn the_published_numbers_agree_in_f32() {
    hrm_tests::small_golden_passes(|dir| {
        golden::check_f32(dir, &mut |_| (), |plan| backend(plan, Precision::F32))
    });
}

#[test]
fn the_published_numbers_agree_in_bf16() {
    hrm_tests::small_golden_passes(|dir| {
        golden::check_bf16(dir, &mut |_| (), |plan| backend(plan, Precision::Bf16))
    });
}

#[test]
fn training_agrees_with_the_reference() {
    cuda::training_agrees_with_the_reference(emulator);
}

#[test]
fn inference_agrees_with_the_reference() -> Result<(), Error> {
    cuda::inference_agrees_with_the_reference(emulator)
}

#[test]
fn a_replayed_step_equals_a_launched_one() -> Result<(), Error> {
    cuda::a_replayed_step_equals_a_launched_one(emulator)
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() -> Result<(), Error> {
    cuda::a_resumed_run_equals_an_uninterrupted_one(emulator)
}

#[test]
fn faults_are_reported_and_change_nothing() -> Result<(), Error> {
    cuda::faults_are_reported_and_change_nothing(emulator)
}

#[test]
fn steps_under_way_equal_steps_one_by_one() -> Result<(), Error> {
    steps::steps_under_way_equal_steps_one_by_one(emulator)
}

#[test]
fn what_is_not_finite_changes_nothing() -> Result<(), Error> {
    steps::what_is_not_finite_changes_nothing(emulator)
}

#[test]
fn memory_is_as_planned() -> Result<(), Error> {
    cuda::memory_is_as_planned(emulator)
}
