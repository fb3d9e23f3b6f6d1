//! The host side of HRM: datasets, models on disk, training, evaluation and solving; and the `hrm` program.
//!
//! What is computed is [`hrm_core`]'s affair; this crate feeds it. Three ways in: [`solve::Model`] loads a model and
//! solves puzzles with it, [`evaluate::evaluate`] says how good it is, [`train::Trainer`] makes one.
//!
//! | module | holds |
//! |---|---|
//! | [`solve`] | a model in memory: load, solve, and every ACT step of it |
//! | [`strategy`], [`views`], [`vote`] | how a model is asked: halting, choice of the board, symmetric views that vote |
//! | [`evaluate`], [`row_metrics`] | a model on a dataset, and the published metrics |
//! | [`arc`] | ARC from answers to a score: votes over augmentations, submissions |
//! | [`task`], [`puzzle`] | which task a dataset or a model is for; puzzles from text, drawn and judged |
//! | [`train`] | the training run: settings, presets, steps, checkpoints |
//! | [`runner`] | batches whose rows halt on their own |
//! | [`data`] | datasets in the published format, samplers; Sudoku, mazes and ARC |
//! | [`model_dir`], [`tensor_file`], [`files`] | models and tensors on disk, written whole or not at all |
//! | [`model_io`] | models in and out: PyTorch checkpoints, safetensors, bundles |
//! | [`numbers`], [`tensor_match`] | element types, and the tensors of a file against a model's |
//! | [`backend`], [`memory`] | what can compute, and what memory it takes |
//! | [`describe`] | what lies at a path: a model, a bundle, a run, a dataset |
//! | [`carry`] | what lives from one training step to the next |
//! | [`settings`] | presets, files and `--set`, in layers |
//! | [`metrics`], [`progress`], [`style`] | JSON lines, TensorBoard, charts; the bar; colour |
//! | [`golden`] | the published program's numbers against a backend's |
//! | [`error`], [`interrupt`], [`threads`] | errors with exit codes, Ctrl-C, the threads that compute |
//! | [`cli`] | the commands of the program |
//!
//! ```no_run
//! use hrm_host::backend::Cpu;
//! use hrm_host::solve::{Halt, Model};
//!
//! # fn main() -> hrm_host::error::Result<()> {
//! let mut model = Model::<Cpu>::load("runs/quickstart/run".as_ref(), 1)?;
//! // Tokens of a 4 x 4 Sudoku: 1 is blank, 2 to 5 are the digits.
//! let found = model.solve(&[2, 1, 1, 1, 1, 4, 1, 1, 1, 2, 1, 3, 3, 1, 2, 1], 0, Halt::Q)?;
//! println!("{:?} after {} ACT steps", found.answer(), found.steps());
//! # Ok(())
//! # }
//! ```

pub mod arc;
pub mod backend;
pub mod bench;
pub mod carry;
pub mod cli;
mod convert;
pub mod data;
pub mod describe;
pub mod embedded;
pub mod error;
pub mod evaluate;
pub mod files;
pub mod golden;
pub mod interrupt;
pub mod json;
pub mod memory;
pub mod metrics;
pub mod model_dir;
pub mod model_io;
mod nearest;
pub mod numbers;
pub mod progress;
pub mod puzzle;
pub mod row_metrics;
pub mod runner;
pub mod settings;
pub mod solve;
pub mod strategy;
pub mod style;
pub mod task;
pub mod tensor_file;
pub mod tensor_match;
pub mod threads;
pub mod train;
pub mod views;
pub mod vote;
