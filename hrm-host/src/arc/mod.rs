//! ARC from a model's answers to a score: votes over augmentations, the submission, and how many tasks it solves.
//!
//! * [`mod@predict`] asks a model for every augmentation of every task and counts the votes;
//! * [`submission`] is the file of the ARC Prize, written and read;
//! * [`mod@score`] holds one against the tasks.

pub mod predict;
pub mod score;
pub mod submission;

pub use predict::{PredictOptions, Prediction, predict};
pub use score::{Score, score};
pub use submission::{Reading, Submission};
