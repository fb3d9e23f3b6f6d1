//! Out and in again: every bit of f32, the nearest even of what is shorter, and integers to half a step.

use std::path::Path;

use half::{bf16, f16};
use hrm_core::config::{Config, PosEncodings};
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::{Tensor, TensorName};
use hrm_host::backend::{Cpu, Plain};
use hrm_host::model_dir::WEIGHTS;
use hrm_host::model_io::bundle::{self, BundleFile, Encoding};
use hrm_host::model_io::export::{Target, export};
use hrm_host::model_io::import::{Options, import};
use hrm_host::numbers::Precision;
use hrm_host::solve::{Halt, Model};
use proptest::prelude::*;

use crate::support::{SMALL, float, read_all, write_model};

const TARGETS: [Target; 3] = [Target::Safetensors, Target::Postcard, Target::PytorchNames];

/// Exports the model in `dir/ours` and imports what came out; returns all its weights, in order.
fn there_and_back(dir: &Path, target: Target, precision: Precision) -> (Config, Vec<f32>) {
    let out = dir.join(format!("{target:?}.{precision:?}"));
    let exported = export(&dir.join("ours"), &out, target, precision).unwrap();
    let back = dir.join(format!("{target:?}.{precision:?}.back"));
    let imported = import(&exported.file, &back, &Options::default()).unwrap();
    let weights = read_all(&back.join(WEIGHTS), &imported.config);
    (imported.config, weights.into_iter().flat_map(|(_, values)| values).collect())
}

/// Any finite number that half precision holds, subnormal ones of all formats among them.
fn finite() -> impl Strategy<Value = f32> {
    let bits = any::<u32>().prop_map(f32::from_bits);
    prop_oneof![bits, -2.0f32..2.0, -1e-6f32..1e-6].prop_filter("finite", |x| x.abs() < 65504.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weights_come_back(
        values in prop::collection::vec(finite(), 97),
        puzzles in 1usize..4,
        ndim in 0usize..6,
        learned: bool,
    ) {
        let config = Config {
            num_puzzle_identifiers: if ndim == 0 { 1 } else { puzzles },
            puzzle_emb_ndim: ndim,
            pos_encodings: if learned { PosEncodings::Learned } else { PosEncodings::Rope },
            ..SMALL
        };
        let dir = tempfile::tempdir().unwrap();
        write_model(&dir.path().join("ours"), &config, |number, i| values[(31 * number + i) % values.len()]);
        let ours: Vec<f32> = read_all(&dir.path().join("ours").join(WEIGHTS), &config)
            .into_iter()
            .flat_map(|(_, values)| values)
            .collect();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for target in TARGETS {
            for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
                let expected: Vec<f32> = ours.iter().map(|&x| match precision {
                    Precision::F32 => x,
                    Precision::Bf16 => bf16::from_f32(x).to_f32(),
                    Precision::F16 => f16::from_f32(x).to_f32(),
                }).collect();
                let (config_back, back) = there_and_back(dir.path(), target, precision);
                prop_assert_eq!(config_back, config);
                prop_assert_eq!(bits(back), bits(expected), "{:?} {:?}", target, precision);
            }
        }
    }
}

#[test]
fn a_bundle_solves_as_its_model_does() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, bundle) = (dir.path().join("ours"), dir.path().join("ours.hrm"));
    write_model(&ours, &SMALL, float);
    export(&ours, &bundle, Target::Postcard, Precision::F32).unwrap();
    let tokens = [1, 2, 0, 1];
    let expected = Model::<Plain>::load(&ours, 1).unwrap().solve(&tokens, 3, Halt::Max).unwrap();
    assert_eq!(expected.steps(), 4);
    assert_eq!(Model::<Plain>::load(&bundle, 1).unwrap().solve(&tokens, 3, Halt::Max).unwrap(), expected);
    let on_cpu = Model::<Cpu>::load(&bundle, 1).unwrap().solve(&tokens, 3, Halt::Max).unwrap();
    assert_eq!(on_cpu.answer(), expected.answer());
}

/// The weights of blocks come back to within half a step of their row, all else bit for bit; a row that holds what is not
/// finite is refused by name.
#[test]
fn a_bundle_of_integers_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.hrm");
    let plan = Plan::new(&SMALL, 1, Mode::Inference).unwrap();
    let value = |tensor: &Tensor, i: usize| float(tensor.span.rows + tensor.span.cols, i);
    let fetch = |tensor: &Tensor, out: &mut [f32]| {
        out.iter_mut().enumerate().for_each(|(i, x)| *x = value(tensor, i));
        Ok(())
    };
    bundle::write(&plan, &path, Encoding::Int8, fetch).unwrap();
    let file = BundleFile::open(&path).unwrap();
    for tensor in plan.params.tensors() {
        let ours: Vec<f32> = (0..tensor.span.len()).map(|i| value(&tensor, i)).collect();
        let back = file.read(&tensor.name.to_string()).unwrap();
        let block = matches!(tensor.name, TensorName::Block(..));
        for (ours, back) in ours.chunks(tensor.span.cols).zip(back.chunks(tensor.span.cols)) {
            let max = ours.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let step = if block { 0.5001 * max / 127.0 } else { 0.0 };
            assert!(ours.iter().zip(back).all(|(x, y)| (x - y).abs() <= step), "{}", tensor.name);
        }
    }
    let broken = |tensor: &Tensor, out: &mut [f32]| {
        out[tensor.span.cols] = f32::NAN;
        Ok(())
    };
    let error = bundle::write(&plan, &dir.path().join("b.hrm"), Encoding::Int8, |tensor, out| {
        if matches!(tensor.name, TensorName::Block(..)) { broken(tensor, out) } else { Ok(()) }
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("qkv_proj.weight, row 1: not a finite number"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    write_model(&ours, &SMALL, |number, i| if number == 7 && i == 5 { 1e5 } else { 0.0 });
    for target in TARGETS {
        let out = dir.path().join(format!("{target:?}"));
        let error = export(&ours, &out, target, Precision::F16).unwrap_err().to_string();
        assert!(
            error.contains("H_level.layers.0.mlp.gate_up_proj.weight, element 5: 1e5 is too large for f16"),
            "{error}"
        );
        assert!(out.symlink_metadata().is_err());
        export(&ours, &out, target, Precision::Bf16).unwrap();
        let error = export(&ours, &out, target, Precision::Bf16).unwrap_err();
        assert!(error.to_string().contains("exists"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1 + TARGETS.len());
}
