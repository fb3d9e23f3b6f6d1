//! Prints a hash of what each backend computes: a few training steps of small models, and two ACT steps. Two
//! programs that compute the same bits print the same lines.
//!
//!     cargo run -p hrm-tests --features emulator --example hashes

use std::fmt::Display;

use hrm_core::backend::cpu::Cpu;
use hrm_core::backend::int8::Int8;
use hrm_core::backend::reference::{Reference, Rounding};
use hrm_core::config::{Config, PosEncodings};
use hrm_core::init::{initialise, reset_carry};
use hrm_core::kernels::{Kernels, Region, TrainKernels};
use hrm_core::loss::LossKind;
use hrm_core::model;
use hrm_core::model::train_step::{TrainConfig, train_step};
use hrm_core::optim::{AdamAtan2, SignSgd, StepScalars};
use hrm_core::plan::{Mode, Plan};
use hrm_tests::portable::OnReference;

#[cfg(feature = "emulator")]
use hrm_cuda::{
    backend::{Cuda, Precision},
    emulator::{Emulator, Order},
};

const BATCH: usize = 3;

/// A prefix of one position and a half, and two blocks of each level.
const SMALL: Config = Config {
    seq_len: 9,
    vocab_size: 7,
    num_puzzle_identifiers: 4,
    hidden_size: 128,
    num_heads: 2,
    expansion: 2.0,
    h_layers: 2,
    l_layers: 2,
    puzzle_emb_ndim: 192,
    halt_max_steps: 3,
    ..Config::SUDOKU_EXTREME
};

const TRAIN: TrainConfig = TrainConfig {
    loss: LossKind::Stablemax,
    adam: AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 },
    puzzle_emb: SignSgd { weight_decay: 0.1 },
    average: None,
    global_batch_size: BATCH,
};

/// FNV-1a.
struct Hash(u64);

impl Hash {
    fn add(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn region<K: Kernels>(
        &mut self,
        k: &mut K,
        region: Region,
        offset: usize,
        len: usize,
    ) -> Result<(), K::Error> {
        let mut values = vec![0.0; len];
        k.read(region, offset, &mut values)?;
        values.into_iter().for_each(|x| self.add(x.to_bits()));
        Ok(())
    }

    fn outputs<K: Kernels>(&mut self, k: &mut K, plan: &Plan) -> Result<(), K::Error> {
        for span in [plan.carry.z_h, plan.carry.z_l, plan.logits] {
            self.region(k, Region::Acts, span.offset, span.len())?;
        }
        self.region(k, Region::Stats, plan.q.offset, plan.q.len())?;
        let mut predictions = vec![0; plan.predictions.len()];
        k.read_ids(plan.predictions.offset, &mut predictions)?;
        predictions.into_iter().for_each(|token| self.add(token as u32));
        Ok(())
    }
}

fn feed<K: Kernels>(k: &mut K, plan: &Plan, from: usize) -> Result<(), K::Error> {
    let rows = plan.incoming;
    for (span, below) in [(rows.inputs, 7), (rows.labels, 7), (rows.puzzle_ids, 4)] {
        let values: Vec<i32> = (0..span.len()).map(|i| ((i * i + 3 * i + from * 5) % below) as i32).collect();
        k.write_ids(span.offset, &values)?;
    }
    Ok(())
}

fn trained<K: TrainKernels>(k: &mut K, plan: &Plan, steps: u64) -> Result<u64, K::Error> {
    let b = plan.backward.unwrap_or_else(|| panic!("a training plan has a backward part"));
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    initialise(k, plan, 1)?;
    reset_carry(k, plan)?;
    for step in 1..=steps {
        feed(k, plan, step as usize)?;
        train_step(k, plan, &b, &TRAIN, &StepScalars { step, lr: 1e-3, puzzle_emb_lr: 1e-2, seed: 7 })?;
        hash.region(k, Region::Params, 0, plan.params.len)?;
        for region in [Region::Gradients, Region::FirstMoments, Region::SecondMoments] {
            hash.region(k, region, 0, plan.params.trained)?;
        }
        for span in [b.lm_loss, b.q_losses, b.next_q, b.dq] {
            hash.region(k, Region::Stats, span.offset, span.len())?;
        }
        hash.outputs(k, plan)?;
    }
    Ok(hash.0)
}

fn inferred<K: Kernels>(k: &mut K, plan: &Plan) -> Result<u64, K::Error> {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    initialise(k, plan, 1)?;
    reset_carry(k, plan)?;
    feed(k, plan, 4)?;
    for _ in 0..2 {
        model::act_step(k, plan)?;
        hash.outputs(k, plan)?;
        k.write_ids(plan.halted.offset, &vec![0; plan.batch])?;
    }
    Ok(hash.0)
}

fn print<E: Display>(what: &str, hash: Result<u64, E>) {
    match hash {
        Ok(hash) => println!("{what:<40} {hash:016x}"),
        Err(error) => println!("{what:<40} error: {error}"),
    }
}

fn main() {
    let learned = Config {
        pos_encodings: PosEncodings::Learned,
        puzzle_emb_ndim: 0,
        h_cycles: 1,
        l_cycles: 3,
        ..SMALL
    };
    let wide = Config { hidden_size: 256, num_heads: 4, puzzle_emb_ndim: 0, ..SMALL };
    for (name, config) in [("rope", SMALL), ("learned", learned), ("wide", wide)] {
        let train = Plan::new(&config, BATCH, Mode::Training).unwrap_or_else(|error| panic!("{error}"));
        let infer = Plan::new(&config, BATCH, Mode::Inference).unwrap_or_else(|error| panic!("{error}"));
        let tiled = Plan::tiled(&config, BATCH, 4).unwrap_or_else(|error| panic!("{error}"));
        let said = |what: &str| format!("{name}, {what}");
        for (rounding, what) in [(Rounding::None, "reference f32"), (Rounding::Bf16, "reference bf16")] {
            let made = Reference::<f32, _>::owned(&train, rounding);
            print(&said(&format!("{what}, training")), made.and_then(|mut k| trained(&mut k, &train, 3)));
            let made = Reference::<f32, _>::owned(&infer, rounding);
            print(&said(&format!("{what}, inference")), made.and_then(|mut k| inferred(&mut k, &infer)));
        }
        print(
            &said("reference f64, training"),
            Reference::<f64, _>::owned(&train, Rounding::None).and_then(|mut k| trained(&mut k, &train, 3)),
        );
        print(&said("cpu, training"), Cpu::new(&train).and_then(|mut k| trained(&mut k, &train, 3)));
        print(&said("cpu, inference"), Cpu::new(&infer).and_then(|mut k| inferred(&mut k, &infer)));
        print(&said("int8, inference"), Int8::new(&infer).and_then(|mut k| inferred(&mut k, &infer)));
        for (plan, what) in [(&infer, "portable, inference"), (&tiled, "portable, tiles")] {
            print(&said(what), OnReference::new(plan).and_then(|mut k| inferred(&mut k, plan)));
        }
    }
    #[cfg(feature = "emulator")]
    emulated();
}

/// The CUDA kernels on the emulator, which takes its time: one step, one block of each level.
#[cfg(feature = "emulator")]
fn emulated() {
    let small = Config { seq_len: 4, h_layers: 1, l_layers: 1, h_cycles: 1, puzzle_emb_ndim: 0, ..SMALL };
    let wide = Config { hidden_size: 256, num_heads: 4, ..small };
    for (config, precision, hopper, what) in [
        (small, Precision::F32, false, "emulator f32"),
        (small, Precision::Bf16, false, "emulator bf16"),
        (wide, Precision::Bf16, true, "emulator 9.0 bf16"),
    ] {
        let order = Order::Random(17);
        let emulator = || if hopper { Emulator::hopper(order) } else { Emulator::new(order) };
        let train = Plan::new(&config, 1, Mode::Training).unwrap_or_else(|error| panic!("{error}"));
        let infer = Plan::new(&config, 1, Mode::Inference).unwrap_or_else(|error| panic!("{error}"));
        let made = Cuda::new(emulator(), &train, precision);
        print(&format!("{what}, training"), made.and_then(|mut k| trained(&mut k, &train, 1)));
        let made = Cuda::new(emulator(), &infer, precision);
        print(&format!("{what}, inference"), made.and_then(|mut k| inferred(&mut k, &infer)));
    }
}
