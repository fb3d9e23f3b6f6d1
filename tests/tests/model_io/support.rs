//! The small model of `fixtures/pt_files.py`, and models of any size and content.

use std::path::{Path, PathBuf};

use hrm_core::config::{Config, ForwardDtype, PosEncodings};
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::Tensor;
use hrm_host::error::Result;
use hrm_host::model_dir::{CONFIG, WEIGHTS, save_config, write_weights};
use hrm_host::model_io::checkpoint::Checkpoint;
use hrm_host::model_io::import::{Imported, Options, import};
use hrm_host::numbers::Precision;
use hrm_host::tensor_match::{compare, shape};

/// The model in `fixtures/pt`.
pub const SMALL: Config = Config {
    seq_len: 4,
    vocab_size: 3,
    num_puzzle_identifiers: 5,
    hidden_size: 2,
    num_heads: 1,
    expansion: 4.0,
    h_layers: 1,
    l_layers: 1,
    h_cycles: 2,
    l_cycles: 2,
    puzzle_emb_ndim: 2,
    pos_encodings: PosEncodings::Learned,
    halt_max_steps: 4,
    forward_dtype: ForwardDtype::Float32,
    ..Config::SUDOKU_EXTREME
};

/// What no tensor of it tells.
pub const SET: [&str; 4] = ["num_heads=1", "H_cycles=2", "L_cycles=2", "halt_max_steps=4"];

/// Element `i` of tensor `number`, as an integer.
pub fn element(number: usize, i: usize) -> i16 {
    ((7 * i + 13 * number) % 11) as i16
}

/// The same as a float.
pub fn float(number: usize, i: usize) -> f32 {
    f32::from(element(number, i)) / 8.0 - 0.5
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pt").join(name)
}

pub fn options(set: &[&str]) -> Options {
    Options { set: set.iter().map(ToString::to_string).collect(), ..Options::default() }
}

/// Imports `checkpoint`, which lacks what [`SET`] tells, to `out`.
pub fn import_small(checkpoint: &Path, out: &Path) -> Result<Imported> {
    import(checkpoint, out, &options(&SET))
}

/// Everything that a model of `config` stores, tensor by tensor, read from `weights`.
pub fn read_all(weights: &Path, config: &Config) -> Vec<(Tensor, Vec<f32>)> {
    let plan = Plan::new(config, 1, Mode::Inference).unwrap();
    let mut checkpoint = Checkpoint::open(weights).unwrap();
    let places = compare(checkpoint.tensors(), &plan.params, shape).unwrap();
    places.into_iter().map(|(tensor, place)| (tensor, checkpoint.read(place).unwrap())).collect()
}

/// Writes a model directory whose tensor `t` has the elements `value(t, i)`.
pub fn write_model(dir: &Path, config: &Config, value: impl Fn(usize, usize) -> f32) {
    std::fs::create_dir_all(dir).unwrap();
    let plan = Plan::new(config, 1, Mode::Inference).unwrap();
    save_config::<std::convert::Infallible>(config, &dir.join(CONFIG)).unwrap();
    let tensors: Vec<Tensor> = plan.params.tensors().collect();
    let fetch = |tensor: &Tensor, out: &mut [f32]| {
        let number = tensors.iter().position(|other| other == tensor).unwrap();
        out.iter_mut().enumerate().for_each(|(i, x)| *x = value(number, i));
        Ok::<(), std::convert::Infallible>(())
    };
    write_weights(&plan, &dir.join(WEIGHTS), Precision::F32, fetch).unwrap().unwrap();
}

/// The error of an import that must fail, which leaves nothing behind.
#[track_caller]
pub fn refused(checkpoint: &Path, options: &Options) -> String {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let error = import(checkpoint, &out, options).unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}
