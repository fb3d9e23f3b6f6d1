//! The CUDA backend on a GPU. Every test is ignored where there may be none; with one:
//!
//! ```text
//! cargo test --release -p hrm-tests --test cuda_gpu -- --ignored
//! ```
//!
//! The executable needs neither cargo nor sources where it runs, but the published numbers (`HRM_SHARED`) and
//! CUDA's libraries (`HRM_CUDA_PATH`, if the system's loader does not find them).

use hrm_core::backend::reference::Rounding;
use hrm_core::plan::Plan;
use hrm_cuda::backend::{Cuda, Precision};
use hrm_cuda::device::{Gpu, devices};
use hrm_cuda::error::Error;
use hrm_host::golden;
use hrm_tests::cuda;
use hrm_tests::cycles;
use hrm_tests::steps;
use hrm_tests::suite::Subject;

fn gpu() -> Result<Gpu, Error> {
    Gpu::new(0)
}

fn backend(plan: &Plan, precision: Precision) -> Result<Cuda<Gpu>, Error> {
    Cuda::new(gpu()?, plan, precision)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn devices_are_listed() -> Result<(), Error> {
    let devices = devices()?;
    for device in &devices {
        println!("{device}");
    }
    assert!(devices.iter().any(|device| device.is_supported()));
    let error = Gpu::new(devices.len()).unwrap_err();
    assert_eq!(error, Error::NoDevice { asked: devices.len(), found: devices.len() });
    Ok(())
}

mod f32 {
    use super::*;

    struct F32;

    impl Subject for F32 {
        type Backend = Cuda<Gpu>;
        const ROUNDING: Rounding = Rounding::None;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            super::backend(plan, Precision::F32).map_err(|error| error.to_string())
        }
    }

    hrm_tests::conformance!(F32, cases: 16, ignore: "needs an NVIDIA GPU");
}

mod bf16 {
    use super::*;

    struct Bf16;

    impl Subject for Bf16 {
        type Backend = Cuda<Gpu>;
        const ROUNDING: Rounding = Rounding::Bf16;

        fn backend(plan: &Plan) -> Result<Self::Backend, String> {
            super::backend(plan, Precision::Bf16).map_err(|error| error.to_string())
        }
    }

    hrm_tests::conformance!(Bf16, cases: 16, ignore: "needs an NVIDIA GPU");

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn products_at_widths_of_tiles() {
        hrm_tests::suite::products_at_widths_of_tiles::<Bf16>();
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn products_of_few_columns() {
        hrm_tests::suite::products_of_few_columns::<Bf16>();
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn qkv_at_widths_of_tiles() {
        hrm_tests::suite::qkv_at_widths_of_tiles::<Bf16>();
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn products_of_many_rows() {
        hrm_tests::suite::products_of_many_rows::<Bf16>();
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn attention_at_lengths_of_tiles() {
        hrm_tests::suite::attention_at_lengths_of_tiles::<Bf16>();
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_forward_pass_follows_its_formula() {
    for precision in [Precision::F32, Precision::Bf16] {
        cycles::follow_the_formula(&cycles::PUBLISHED, &[(1, 3), (2, 2)], |plan| backend(plan, precision));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn the_published_numbers_agree_in_f32() {
    hrm_tests::golden_passes(|dir| golden::check_f32(dir, &mut |_| (), |plan| backend(plan, Precision::F32)));
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn the_published_numbers_agree_in_bf16() {
    hrm_tests::golden_passes(|dir| {
        golden::check_bf16(dir, &mut |_| (), |plan| backend(plan, Precision::Bf16))
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn training_agrees_with_the_reference() {
    cuda::training_agrees_with_the_reference(gpu);
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn inference_agrees_with_the_reference() -> Result<(), Error> {
    cuda::inference_agrees_with_the_reference(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_replayed_step_equals_a_launched_one() -> Result<(), Error> {
    cuda::a_replayed_step_equals_a_launched_one(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn a_resumed_run_equals_an_uninterrupted_one() -> Result<(), Error> {
    cuda::a_resumed_run_equals_an_uninterrupted_one(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn faults_are_reported_and_change_nothing() -> Result<(), Error> {
    cuda::faults_are_reported_and_change_nothing(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn steps_under_way_equal_steps_one_by_one() -> Result<(), Error> {
    steps::steps_under_way_equal_steps_one_by_one(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn what_is_not_finite_changes_nothing() -> Result<(), Error> {
    steps::what_is_not_finite_changes_nothing(gpu)
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn memory_is_as_planned() -> Result<(), Error> {
    cuda::memory_is_as_planned(gpu)
}

/// More than any device has is an error that says how much there is.
#[test]
#[ignore = "needs an NVIDIA GPU"]
fn too_large_a_batch_is_an_error_that_says_what_is_free() -> Result<(), Error> {
    use hrm_core::config::Config;
    use hrm_core::plan::Mode;
    let plan = Plan::new(&Config::SUDOKU_EXTREME, 1 << 20, Mode::Training).unwrap();
    let planned = Cuda::<Gpu>::planned_bytes(&plan, Precision::Bf16);
    match backend(&plan, Precision::Bf16) {
        Err(Error::Memory { needed, free, total }) => {
            println!("{}", Error::Memory { needed, free, total });
            assert!(free < needed && needed < planned && free <= total);
        }
        Err(other) => return Err(other),
        Ok(_) => panic!("{planned} bytes were there"),
    }
    Ok(())
}
