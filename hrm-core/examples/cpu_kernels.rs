//! Speed of the CPU backend's kernels at the shapes of the two benchmark models: median of repeated runs.
//!
//!     cargo run --release -p hrm-core --features std --example cpu_kernels [NAME_PART]

use hrm_core::backend::cpu::attention::{
    AttentionShape, Rope, attention, attention_scratch_len, attention_vjp, attention_vjp_scratch_len,
};
use hrm_core::backend::cpu::elementwise::{
    adam_atan2, add, add_rms_norm, add_rms_norm_vjp, swiglu, swiglu_vjp,
};
use hrm_core::backend::cpu::gemm::{linear, linear_dw, linear_dx};
use hrm_core::kernels::Write;
use hrm_core::optim::AdamAtan2;
use hrm_core::optim::StepScalars;
use std::time::Instant;

/// Seconds that one kernel is run for.
const SPAN: f64 = 0.4;

/// Prints the median time of `f` and `amount / time` in giga-`unit` per second.
fn measure(name: &str, amount: f64, unit: &str, mut f: impl FnMut()) {
    if !std::env::args().nth(1).is_none_or(|part| name.contains(&part)) {
        return;
    }
    f();
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed().as_secs_f64() < SPAN || times.len() < 5 {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let (median, best) = (times[times.len() / 2], times[0]);
    println!(
        "{name:<34} {:>9.3} ms {:>7.1} G{unit}/s (best {:.1})",
        median * 1e3,
        amount / median / 1e9,
        amount / best / 1e9
    );
}

fn data(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1013) as f32 / 1013.0 - 0.5).collect()
}

fn main() {
    println!("{} threads", rayon::current_num_threads());
    for (rows, inputs, outputs) in [
        (656, 512, 1536),
        (656, 512, 3072),
        (656, 1536, 512),
        (82, 512, 1536),
        (82, 512, 512),
        (82, 512, 3072),
        (82, 1536, 512),
        (17, 512, 3072),
        (5248, 128, 384),
        (5248, 128, 1024),
        (5248, 512, 128),
    ] {
        let (x, w, dy) = (data(rows * inputs), data(inputs * outputs), data(rows * outputs));
        let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
        let flops = 2.0 * (rows * inputs * outputs) as f64;
        let name = format!("{rows} x {inputs} -> {outputs}");
        measure(&format!("linear    {name}"), flops, "FLOP", || {
            linear(&mut y, &x, &w, inputs, outputs, Write::Replace);
        });
        measure(&format!("linear_dx {name}"), flops, "FLOP", || {
            linear_dx(&mut dx, &dy, &w, inputs, outputs, Write::Replace);
        });
        measure(&format!("linear_dw {name}"), flops, "FLOP", || {
            linear_dw(&mut dw, &dy, &x, inputs, outputs, Write::Accumulate);
        });
    }
    for (batch, heads) in [(8, 8), (64, 2), (1, 8)] {
        let shape = AttentionShape { batch, seq: 82, heads, head_dim: 64 };
        let len = batch * 82 * shape.hidden();
        let (qkv, d_o) = (data(3 * len), data(len));
        let (cos, sin) = (data(82 * 32), data(82 * 32));
        let rope = Some(Rope { cos: &cos, sin: &sin });
        let tasks = rayon::current_num_threads();
        let (mut o, mut lse, mut dqkv) = (d_o.clone(), vec![0.0; batch * heads * 82], qkv.clone());
        let mut scratch = vec![0.0; attention_scratch_len(&shape, tasks)];
        let flops = (4 * batch * heads * 82 * 82 * 64) as f64;
        measure(&format!("attention B={batch} h={heads}"), flops, "FLOP", || {
            attention(&mut o, &mut lse, &qkv, rope, &shape, &mut scratch);
        });
        let mut scratch = vec![0.0; attention_vjp_scratch_len(&shape, tasks)];
        measure(&format!("attention_vjp B={batch} h={heads}"), 2.5 * flops, "FLOP", || {
            attention_vjp(&mut dqkv, &d_o, &qkv, &o, &lse, rope, &shape, &mut scratch);
        });
    }
    for (rows, hidden, inter) in [(656, 512, 1536), (5248, 128, 512), (82, 512, 1536)] {
        let (x, r, dy) = (data(rows * hidden), data(rows * hidden), data(rows * hidden));
        let (mut y, mut rstd) = (x.clone(), vec![0.0; rows]);
        let bytes = 4.0 * (rows * hidden) as f64;
        let name = format!("{rows} x {hidden}");
        measure(&format!("add {name}"), 3.0 * bytes, "B", || add(&mut y, &x, &r));
        measure(&format!("add_rms_norm {name}"), 3.0 * bytes, "B", || {
            add_rms_norm(&mut y, &mut rstd, &x, &r, hidden, 1e-5);
        });
        let mut ds = x.clone();
        measure(&format!("add_rms_norm_vjp {name}"), 3.0 * bytes, "B", || {
            add_rms_norm_vjp(&mut ds, &dy, &y, &rstd, hidden);
        });
        let (gate_up, da) = (data(rows * 2 * inter), data(rows * inter));
        let (mut a, mut dgate_up) = (da, gate_up.clone());
        let bytes = 4.0 * (rows * inter) as f64;
        let name = format!("{rows} x {inter}");
        measure(&format!("swiglu {name}"), 3.0 * bytes, "B", || swiglu(&mut a, &gate_up, inter));
        measure(&format!("swiglu_vjp {name}"), 6.0 * bytes, "B", || {
            swiglu_vjp(&mut dgate_up, &mut a, inter);
        });
    }
    let len = 8 << 20;
    let (mut p, mut m, mut v, g) = (data(len), data(len), vec![0.1; len], data(len));
    let optimizer = AdamAtan2 { beta1: 0.9, beta2: 0.95, weight_decay: 0.1 };
    let scalars = optimizer.factors(&StepScalars { step: 10, lr: 1e-4, puzzle_emb_lr: 1e-4, seed: 0 });
    measure("adam_atan2 8M", 28.0 * len as f64, "B", || adam_atan2(&mut p, &mut m, &mut v, &g, &scalars));
}
