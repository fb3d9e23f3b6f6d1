//! Adaptive computation time: when a row halts, and how the model learns to say so (paper, section 2).

mod policy;
mod q_learning;

pub use policy::{ActStep, AlwaysMax, Exploring, FixedSteps, HaltOnQ, HaltPolicy, HaltRule};
pub use q_learning::{PublishedQ, Q_LOSS_WEIGHT, QLearning, QLosses, bce_with_logits, sigmoid, solved};
