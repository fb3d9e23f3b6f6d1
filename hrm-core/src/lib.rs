//! The Hierarchical Reasoning Model (Wang et al. 2025, arXiv 2506.21734): the model, its backward pass,
//! adaptive computation time, Q-learning and the optimizers, without std and without alloc.
//!
//! # How it fits together
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the architecture, under the published names |
//! | [`arena`], [`plan`] | handles into a backend's memory, and where every tensor lies |
//! | [`kernels`] | the contract of a backend: one method for each fused kernel |
//! | [`model`] | the network, forward beside backward, and one whole training step |
//! | [`halting`], [`loss`] | when to halt, and what is learned: pure functions |
//! | [`optim`] | the optimizers |
//! | [`tensors`] | the stored tensors, under the published names |
//! | `bundle` | a model in one piece of memory, read in place (feature `bundle`) |
//! | [`quantize`] | rows of 8-bit integers with a scale |
//! | [`init`], [`rope`], [`rng`] | initial parameters, constants, random numbers |
//! | [`backend`] | the reference backend, the CPU backend (feature `std`), the portable one (feature `bundle`), that of integers on a host (both) |
//! | `solver` | a model on a microcontroller: one call for each ACT step (feature `bundle`) |
//!
//! The model is written once, on the kernels. A backend implements kernels, never the model.
//!
//! # The paper's symbols
//!
//! | here | paper | |
//! |---|---|---|
//! | `z_h`, `z_l` | z_H, z_L | states of the slow and the fast module, together the carry |
//! | `h_cycles`, `l_cycles` | N, T | high-level cycles, and low-level steps in each |
//! | `emb` | x~ | input embedding with its puzzle prefix |
//! | `q_halt`, `q_continue` | Q_halt, Q_continue | here as logits |
//! | `halt_max_steps` | M_max | ACT steps ("segments") at most |
//! | `min_steps` | M_min | ACT steps an exploring row must do |
//!
//! # Features
//!
//! None by default: no std and no alloc. `alloc` gives the reference backend arenas of its own, `std` brings the
//! multi-threaded CPU backend, `serde` reads and writes configurations under the published keys, `bundle`
//! reads models in place and solves with them.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod arena;
pub mod backend;
#[cfg(feature = "bundle")]
pub mod bundle;
pub mod config;
pub mod halting;
pub mod init;
pub mod kernels;
pub mod loss;
pub mod model;
pub mod optim;
pub mod plan;
pub mod quantize;
pub mod rng;
pub mod rope;
pub mod scalar;
#[cfg(feature = "bundle")]
pub mod solver;
pub mod tensors;
