//! `functions.json` and `functions.safetensors`: single functions of the published program.
//!
//! Where a function is a kernel, the backend computes it; the learning-rate schedule, the truncated normal, the
//! SwiGLU width and the two token losses are pure functions of the core, and are called as such. A rotation of
//! queries and keys cannot be seen from outside a backend, but its scores can: it is judged by their
//! log-sum-exp.

use std::fmt;
use std::path::Path;

use hrm_core::config::{Config, PosEncodings};
use hrm_core::init::{truncated_normal, write_constants};
use hrm_core::kernels::{
    AddRmsNorm, Attention, AttentionVjp, Linear, LinearVjpInput, LinearVjpWeight, LmLoss, Region, SwiGlu,
    TrainKernels, Write,
};
use hrm_core::loss::{LossKind, TokenLoss, stablemax};
use hrm_core::optim::{AdamAtan2, CosineSchedule, SignSgd, StepScalars};
use hrm_core::plan::{Mode, Plan};
use hrm_core::rope::RopeTables;
use serde_json::Value;

use super::file::File;
use super::judge::{FORMULA, GRADIENT, Judge, PARAMETER, STATE};
use super::workbench::{Contents, Workbench};
use super::{Check, Error, Lacking, Report, failed, json};

/// The sizes of the golden attention: two sequences of 17 positions, 4 heads of width 8.
const BATCH: usize = 2;
const POSITIONS: usize = 17;
const HIDDEN: usize = 32;
const HEADS: usize = 4;
/// The file of single functions.
pub(super) const TENSORS: &str = "functions.safetensors";
/// Share of a SwiGLU activation in the golden MLP.
const INTER: usize = 256;

const CONFIG: Config = Config {
    seq_len: POSITIONS,
    vocab_size: 7,
    hidden_size: HIDDEN,
    num_heads: HEADS,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 0,
    ..Config::SUDOKU_EXTREME
};

pub(super) fn check<K: TrainKernels, E: fmt::Display>(
    dir: &Path,
    progress: &mut dyn FnMut(&Check),
    factory: &impl Fn(&Plan) -> Result<K, E>,
    bf16: bool,
) -> Result<Report, Error> {
    let path = dir.join("functions.json");
    let Some(file) = File::find(dir.join(TENSORS))? else { return Ok(Report::without(TENSORS.into())) };
    let json = json(&path)?;
    let mut functions = Functions {
        judge: Judge::new(&file, None),
        file: &file,
        json: &json,
        json_path: &path,
        factory,
        bf16,
        lacking: Vec::new(),
    };
    for case in ["attn", "attn_norope"] {
        functions.compare(case, |f| f.attention(case))?;
    }
    functions.compare("rope rotation", Functions::rotation)?;
    functions.compare("swiglu", Functions::swiglu)?;
    functions.compare("rms_norm", Functions::rms_norm)?;
    for (case, kind) in [("stablemax_ce", LossKind::Stablemax), ("softmax_ce", LossKind::Softmax)] {
        functions.compare(case, |f| f.cross_entropy(case, kind))?;
    }
    if bf16 {
        // The rest has no bf16 form.
        file.skip("");
    } else {
        functions.compare("rope tables", Functions::rope_tables)?;
        functions.compare("schedule", Functions::schedule)?;
        functions.compare("swiglu_inter", Functions::inter_size)?;
        functions.compare("trunc_normal", Functions::truncated_normal)?;
        functions.compare("stablemax", Functions::stablemax)?;
        functions.compare("adam_atan2", Functions::adam_atan2)?;
        functions.compare("signsgd", Functions::sign_sgd)?;
        // The forms in bf16 are the other run's; HRM has no causal attention.
        for name in ["attn.out_bf16", "attn_norope.out_bf16", "attn_causal.", "rms_norm.out_bf16"] {
            file.skip(name);
        }
        for name in ["rms_norm.x_bf16", "swiglu.out_bf16", "rope.q_out_bf16", "rope.k_out_bf16"] {
            file.skip(name);
        }
        for case in ["stablemax_ce", "softmax_ce"] {
            for name in ["logits_bf16", "loss_bf16", "dlogits_of_sum_bf16"] {
                file.skip(&format!("{case}.{name}"));
            }
        }
    }
    file.close()?;
    let mut report = functions.judge.finish(progress);
    report.lacking.extend(functions.lacking);
    Ok(report)
}

struct Functions<'a, F> {
    judge: Judge<'a>,
    file: &'a File,
    json: &'a Value,
    json_path: &'a Path,
    factory: &'a F,
    bf16: bool,
    lacking: Vec<Lacking>,
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

impl<'a, K: TrainKernels, E: fmt::Display, F: Fn(&Plan) -> Result<K, E>> Functions<'a, F> {
    /// Makes a comparison; notes that its operands are not in the file, if they are not.
    fn compare(
        &mut self,
        group: &str,
        comparison: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match comparison(self) {
            Err(Error::Missing { name, .. }) => {
                self.lacking.push(Lacking {
                    file: self.file.name(),
                    group: group.into(),
                    tensors: vec![name],
                });
                Ok(())
            }
            other => other,
        }
    }

    fn bench(&self) -> Result<Workbench, Error> {
        Workbench::new(&CONFIG, BATCH, f32::NAN)
            .map_err(|source| Error::Plan { path: self.file.path().into(), source })
    }

    /// Runs kernels on a bench and reads what they left.
    fn run(
        &self,
        bench: &Workbench,
        kernels: impl FnOnce(&mut K) -> Result<(), K::Error>,
    ) -> Result<Contents, Error> {
        let failed = failed(self.file.path());
        let mut k = bench.build(&self.factory).map_err(&failed)?;
        kernels(&mut k).map_err(|error| failed(error.to_string()))?;
        bench.contents(&mut k).map_err(failed)
    }

    /// A result and, in bf16, its counterpart: the file has the f32 form under `name`, the bf16 form under
    /// `name_bf16`.
    fn state(&mut self, group: &str, name: &str, shape: &[usize], ours: &[f64]) -> Result<(), Error> {
        if !self.bf16 {
            return self.judge.floats(group, STATE, name, shape, ours);
        }
        let (exact, theirs) =
            (self.file.floats(name, shape)?, self.file.floats(&format!("{name}_bf16"), shape)?);
        self.judge.bf16(group, ours, &theirs, &exact);
        Ok(())
    }

    /// Gradients have no bf16 form in the file.
    fn gradient(&mut self, group: &str, name: &str, shape: &[usize], ours: &[f32]) -> Result<(), Error> {
        if self.bf16 {
            return Ok(());
        }
        self.judge.floats(group, GRADIENT, name, shape, &wide(ours))
    }

    /// An attention layer with its projections, and its gradients.
    fn attention(&mut self, case: &str) -> Result<(), Error> {
        let rows = BATCH * POSITIONS;
        let shape = [BATCH, POSITIONS, HIDDEN];
        let read = |name: &str, shape: &[usize]| self.file.f32s(&format!("{case}.{name}"), shape);
        let mut bench = self.bench()?;
        let x = bench.act(rows, HIDDEN, &read("x", &shape)?);
        let dy = bench.act(rows, HIDDEN, &read("dy", &shape)?);
        let w_qkv = bench.param(3 * HIDDEN, HIDDEN, &read("qkv", &[3 * HIDDEN, HIDDEN])?);
        let w_o = bench.param(HIDDEN, HIDDEN, &read("o", &[HIDDEN, HIDDEN])?);
        let rope = if case == "attn" { Some(self.tables(&mut bench)?) } else { None };
        let (qkv, dqkv) = (bench.act(rows, 3 * HIDDEN, &[]), bench.act(rows, 3 * HIDDEN, &[]));
        let (o, d_o) = (bench.act(rows, HIDDEN, &[]), bench.act(rows, HIDDEN, &[]));
        let (y, dx) = (bench.act(rows, HIDDEN, &[]), bench.act(rows, HIDDEN, &[]));
        let lse = bench.stat(BATCH * HEADS, POSITIONS, &[]);
        let forward = Attention { o, lse, qkv, rope, heads: HEADS };
        let contents = self.run(&bench, |k| {
            k.linear(&Linear { y: qkv, x, w: w_qkv })?;
            k.rope_attention(&forward)?;
            k.linear(&Linear { y, x: o, w: w_o })?;
            k.linear_vjp_input(&LinearVjpInput { dx: d_o, dy, w: w_o, write: Write::Replace })?;
            k.linear_vjp_weight(&LinearVjpWeight { w: w_o, dy, x: o, write: Write::Replace })?;
            k.rope_attention_vjp(&AttentionVjp { forward, d_o, dqkv })?;
            k.linear_vjp_input(&LinearVjpInput { dx, dy: dqkv, w: w_qkv, write: Write::Replace })?;
            k.linear_vjp_weight(&LinearVjpWeight { w: w_qkv, dy: dqkv, x, write: Write::Replace })
        })?;
        self.state(case, &format!("{case}.out"), &shape, &wide(contents.act(y)))?;
        let group = format!("grad {case}");
        self.gradient(&group, &format!("{case}.dx"), &shape, contents.act(dx))?;
        let [o_shape, qkv_shape] = [[HIDDEN, HIDDEN], [3 * HIDDEN, HIDDEN]];
        self.gradient(&group, &format!("{case}.d_o"), &o_shape, contents.gradient(w_o))?;
        self.gradient(&group, &format!("{case}.d_qkv"), &qkv_shape, contents.gradient(w_qkv))
    }

    /// The rotary tables of the golden attention, halved: the file repeats each frequency for both halves of a
    /// head.
    fn tables(&self, bench: &mut Workbench) -> Result<RopeTables, Error> {
        let dim = HIDDEN / HEADS;
        let mut half = |name: &str| {
            let table = self.file.f32s(name, &[POSITIONS, dim])?;
            let half: Vec<f32> = table.chunks_exact(dim).flat_map(|row| &row[..dim / 2]).copied().collect();
            Ok(bench.param(POSITIONS, dim / 2, &half))
        };
        Ok(RopeTables { cos: half("rope.cos")?, sin: half("rope.sin")? })
    }

    /// Rotated queries and keys, by the log-sum-exp of their scores.
    fn rotation(&mut self) -> Result<(), Error> {
        let dim = HIDDEN / HEADS;
        let (rows, shape) = (BATCH * POSITIONS, [BATCH, POSITIONS, HEADS, dim]);
        let (q, k) = (self.file.f32s("rope.q", &shape)?, self.file.f32s("rope.k", &shape)?);
        let mut packed = Vec::new();
        for (q, k) in q.chunks_exact(HIDDEN).zip(k.chunks_exact(HIDDEN)) {
            packed.extend_from_slice(q);
            packed.extend_from_slice(k);
            packed.extend_from_slice(&[0.0; HIDDEN]);
        }
        if self.bf16 {
            packed.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
        }
        let mut bench = self.bench()?;
        let rope = Some(self.tables(&mut bench)?);
        let qkv = bench.act(rows, 3 * HIDDEN, &packed);
        let o = bench.act(rows, HIDDEN, &[]);
        let lse = bench.stat(BATCH * HEADS, POSITIONS, &[]);
        let contents =
            self.run(&bench, |k| k.rope_attention(&Attention { o, lse, qkv, rope, heads: HEADS }))?;
        let ours = wide(contents.stat(lse));
        let theirs = |end: &str| {
            let (q, k) = (format!("rope.q_out{end}"), format!("rope.k_out{end}"));
            Ok(scores_lse(&self.file.floats(&q, &shape)?, &self.file.floats(&k, &shape)?))
        };
        let exact = theirs("")?;
        if self.bf16 {
            let theirs = theirs("_bf16")?;
            self.judge.bf16("rope rotation", &ours, &theirs, &exact);
        } else {
            self.judge.values("rope rotation", STATE, &ours, &exact);
        }
        Ok(())
    }

    fn rope_tables(&mut self) -> Result<(), Error> {
        for (name, positions, dim) in [("rope", POSITIONS, 8), ("rope64", 82, 64), ("rope64_901", 901, 64)] {
            let config = Config { seq_len: positions, hidden_size: dim, num_heads: 1, ..CONFIG };
            let path = self.file.path();
            let plan = Plan::new(&config, 1, Mode::Inference)
                .map_err(|source| Error::Plan { path: path.into(), source })?;
            let mut k = (self.factory)(&plan).map_err(failed(path))?;
            write_constants(&mut k, &plan).map_err(failed(path))?;
            let tables = plan.params.rope.ok_or_else(|| {
                self.file.wrong(
                    name,
                    format!("{:?}", config.pos_encodings),
                    format!("{:?}", PosEncodings::Rope),
                )
            })?;
            for (part, span) in [("cos", tables.cos), ("sin", tables.sin)] {
                let mut values = vec![0.0; span.len()];
                k.read(Region::Params, span.offset, &mut values).map_err(failed(path))?;
                let both: Vec<f64> =
                    values.chunks_exact(dim / 2).flat_map(|row| wide(&[row, row].concat())).collect();
                self.judge.floats(
                    "rope tables",
                    STATE,
                    &format!("{name}.{part}"),
                    &[positions, dim],
                    &both,
                )?;
            }
        }
        Ok(())
    }

    fn swiglu(&mut self) -> Result<(), Error> {
        let (rows, shape) = (10, [2, 5, HIDDEN]);
        let read = |name: &str, shape: &[usize]| self.file.f32s(&format!("swiglu.{name}"), shape);
        let mut bench = self.bench()?;
        let x = bench.act(rows, HIDDEN, &read("x", &shape)?);
        let dy = bench.act(rows, HIDDEN, &read("dy", &shape)?);
        let w_in = bench.param(2 * INTER, HIDDEN, &read("gate_up", &[2 * INTER, HIDDEN])?);
        let w_out = bench.param(HIDDEN, INTER, &read("down", &[HIDDEN, INTER])?);
        let gate_up = bench.act(rows, 2 * INTER, &[]);
        let (a, da) = (bench.act(rows, INTER, &[]), bench.act(rows, INTER, &[]));
        let (y, dx) = (bench.act(rows, HIDDEN, &[]), bench.act(rows, HIDDEN, &[]));
        let contents = self.run(&bench, |k| {
            k.linear(&Linear { y: gate_up, x, w: w_in })?;
            k.swiglu(&SwiGlu { a, gate_up })?;
            k.linear(&Linear { y, x: a, w: w_out })?;
            k.linear_vjp_input(&LinearVjpInput { dx: da, dy, w: w_out, write: Write::Replace })?;
            k.swiglu_vjp(&SwiGlu { a: da, gate_up })?;
            k.linear_vjp_weight(&LinearVjpWeight { w: w_out, dy, x: da, write: Write::Replace })?;
            k.linear_vjp_input(&LinearVjpInput { dx, dy: gate_up, w: w_in, write: Write::Replace })?;
            k.linear_vjp_weight(&LinearVjpWeight { w: w_in, dy: gate_up, x, write: Write::Replace })
        })?;
        self.state("swiglu", "swiglu.out", &shape, &wide(contents.act(y)))?;
        self.gradient("grad swiglu", "swiglu.dx", &shape, contents.act(dx))?;
        let [w_in_shape, w_out_shape] = [[2 * INTER, HIDDEN], [HIDDEN, INTER]];
        self.gradient("grad swiglu", "swiglu.d_gate_up", &w_in_shape, contents.gradient(w_in))?;
        self.gradient("grad swiglu", "swiglu.d_down", &w_out_shape, contents.gradient(w_out))
    }

    fn rms_norm(&mut self) -> Result<(), Error> {
        let (rows, shape) = (15, [3, 5, HIDDEN]);
        let x = self.file.f32s(if self.bf16 { "rms_norm.x_bf16" } else { "rms_norm.x" }, &shape)?;
        let mut bench = self.bench()?;
        let x = bench.act(rows, HIDDEN, &x);
        let t = bench.act(rows, HIDDEN, &vec![0.0; rows * HIDDEN]);
        let dy = bench.act(rows, HIDDEN, &self.file.f32s("rms_norm.dy", &shape)?);
        let (y, ds) = (bench.act(rows, HIDDEN, &[]), bench.act(rows, HIDDEN, &[]));
        let rstd = bench.stat(rows, 1, &[]);
        let contents = self.run(&bench, |k| {
            k.add_rms_norm(&AddRmsNorm { y, rstd, x, t, eps: 1e-5 })?;
            k.add_rms_norm_vjp(ds, dy, y, rstd)
        })?;
        self.state("rms_norm", "rms_norm.out", &shape, &wide(contents.act(y)))?;
        self.gradient("grad rms_norm", "rms_norm.dx", &shape, contents.act(ds))
    }

    /// A token loss: the pure function by cell, the kernel by row. The kernel divides by the labels that count,
    /// the file does not.
    fn cross_entropy(&mut self, case: &str, kind: LossKind) -> Result<(), Error> {
        let (batch, seq_len, vocab) = (4, 9, 7);
        let shape = [batch, seq_len, vocab];
        let end = if self.bf16 { "_bf16" } else { "" };
        let logits = self.file.f32s(&format!("{case}.logits{end}"), &shape)?;
        let labels = self.file.ints(&format!("{case}.labels"), &shape[..2])?;
        let cells = logits.chunks_exact(vocab).zip(&labels);
        let losses: Vec<f64> = cells
            .map(|(cell, label)| usize::try_from(*label).map_or(0.0, |label| kind.loss(cell, label)))
            .collect();

        let config = Config { seq_len, vocab_size: vocab, ..CONFIG };
        let mut bench = Workbench::new(&config, batch, f32::NAN)
            .map_err(|source| Error::Plan { path: self.file.path().into(), source })?;
        let op = LmLoss {
            logits: bench.act(batch * seq_len, vocab, &logits),
            labels: bench.ids(batch, seq_len, &labels),
            dlogits: bench.act(batch * seq_len, vocab, &[]),
            loss: bench.stat(batch, 1, &[]),
            valid: bench.ids(batch, 1, &[]),
            correct: bench.ids(batch, 1, &[]),
            kind,
            scale: 1.0,
        };
        let contents = self.run(&bench, |k| k.lm_loss(&op))?;
        let valid: Vec<f64> = labels
            .chunks_exact(seq_len)
            .map(|row| row.iter().filter(|label| **label >= 0).count().max(1) as f64)
            .collect();
        let dlogits = contents.act(op.dlogits).chunks_exact(seq_len * vocab).zip(&valid);
        let dlogits: Vec<f64> =
            dlogits.flat_map(|(row, valid)| row.iter().map(move |x| f64::from(*x) * valid)).collect();
        let by_row = |cells: &[f64]| -> Vec<f64> {
            cells
                .chunks_exact(seq_len)
                .zip(&valid)
                .map(|(row, valid)| row.iter().sum::<f64>() / valid)
                .collect()
        };
        let kernel = wide(contents.stat(op.loss));
        let read = |end: &str| self.file.floats(&format!("{case}.loss{end}"), &shape[..2]);
        let exact = read("")?;
        let gradient = format!("{case}.dlogits_of_sum");
        if self.bf16 {
            let theirs = read("_bf16")?;
            self.judge.bf16(case, &losses, &theirs, &exact);
            self.judge.bf16(&format!("{case} kernel"), &kernel, &by_row(&theirs), &by_row(&exact));
            let exact = self.file.floats(&gradient, &shape)?;
            let theirs = self.file.floats(&format!("{gradient}_bf16"), &shape)?;
            self.judge.bf16(&format!("grad {case}"), &dlogits, &theirs, &exact);
        } else {
            self.judge.values(case, STATE, &losses, &exact);
            self.judge.values(&format!("{case} kernel"), STATE, &kernel, &by_row(&exact));
            self.judge.floats(&format!("grad {case}"), GRADIENT, &gradient, &shape, &dlogits)?;
        }
        Ok(())
    }

    fn stablemax(&mut self) -> Result<(), Error> {
        let x = self.file.floats("stablemax.x", &[11])?;
        let s: Vec<f64> = x.iter().map(|x| stablemax(*x)).collect();
        self.judge.floats("stablemax", FORMULA, "stablemax.s", &[11], &s)?;
        let log = |x: &[f64]| -> Vec<f64> { (0..x.len()).map(|i| -LossKind::Stablemax.loss(x, i)).collect() };
        self.judge.floats("stablemax", FORMULA, "stablemax.log", &[11], &log(&x))?;
        let shape = [4, 9, 7];
        let x = self.file.floats("stablemax.rand_x", &shape)?;
        let logs: Vec<f64> = x.chunks_exact(7).flat_map(log).collect();
        self.judge.floats("stablemax", FORMULA, "stablemax.rand_log_f64", &shape, &logs)?;
        self.judge.floats("stablemax f32", STATE, "stablemax.rand_log_f32", &shape, &logs)
    }

    fn truncated_normal(&mut self) -> Result<(), Error> {
        for (name, std) in [("0.044194", 1.0 / 512.0f64.sqrt()), ("0.500000", 0.5), ("1.000000", 1.0)] {
            let u = self.file.floats(&format!("trunc_normal.std{name}.u"), &[4096])?;
            // The file draws from [-erf, erf), the core from [0, 1).
            let within = self.number(&["trunc_normal", "erf_upper"])?;
            let ours: Vec<f64> = u.iter().map(|u| truncated_normal(0.5 * (u / within + 1.0), std)).collect();
            self.judge.floats(
                "trunc_normal",
                STATE,
                &format!("trunc_normal.std{name}.out"),
                &[4096],
                &ours,
            )?;
        }
        Ok(())
    }

    fn number(&self, path: &[&str]) -> Result<f64, Error> {
        let value = path.iter().fold(self.json, |value, key| &value[*key]);
        value.as_f64().ok_or_else(|| self.wrong_json(path.join("."), value, "a number"))
    }

    fn numbers(&self, path: &[&str]) -> Result<Vec<f64>, Error> {
        let value = path.iter().fold(self.json, |value, key| &value[*key]);
        let numbers = value.as_array().and_then(|values| values.iter().map(Value::as_f64).collect());
        numbers.ok_or_else(|| self.wrong_json(path.join("."), value, "a list of numbers"))
    }

    fn wrong_json(&self, name: String, given: &Value, expected: &str) -> Error {
        let path = self.json_path.into();
        Error::Tensor { path, name, given: given.to_string(), expected: expected.into() }
    }

    /// That there is the key `name`, of numbers that stand in JSON alone.
    fn expect_key(&self, name: &str) -> Result<(), Error> {
        match self.json.get(name) {
            Some(_) => Ok(()),
            None => Err(Error::Missing {
                path: self.json_path.into(),
                name: name.into(),
                expected: "numbers".into(),
            }),
        }
    }

    fn schedule(&mut self) -> Result<(), Error> {
        let name = "cosine_schedule_with_warmup";
        let wrong = |given: &Value| self.wrong_json(name.into(), given, "cases with numbers");
        self.expect_key(name)?;
        let cases = self.json[name].as_array().ok_or_else(|| wrong(&self.json[name]))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for case in cases {
            let number = |key: &str| case[key].as_f64().ok_or_else(|| wrong(case));
            let integer = |key: &str| case[key].as_u64().ok_or_else(|| wrong(case));
            let schedule = CosineSchedule {
                warmup_steps: integer("num_warmup_steps")?,
                hold_steps: 0,
                total_steps: integer("num_training_steps")?,
                min_ratio: number("min_ratio")?,
            };
            ours.push(schedule.at(integer("current_step")?, number("base_lr")?));
            theirs.push(number("lr")?);
        }
        let schedule =
            CosineSchedule { warmup_steps: 2000, hold_steps: 0, total_steps: 1 << 40, min_ratio: 1.0 };
        let first = self.numbers(&["lr_of_first_train_steps_default_cfg"])?;
        ours.extend((1..).take(first.len()).map(|step| schedule.at(step, 1e-4)));
        theirs.extend(first);
        self.judge.values("schedule", FORMULA, &ours, &theirs);
        Ok(())
    }

    fn inter_size(&mut self) -> Result<(), Error> {
        let name = "swiglu_inter";
        self.expect_key(name)?;
        let table = self.json[name].as_object();
        let table = table.ok_or_else(|| self.wrong_json(name.into(), &self.json[name], "a table"))?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (key, inter) in table {
            // "h512_e4.0"
            let sizes = key.strip_prefix('h').and_then(|key| key.split_once("_e"));
            let sizes = sizes.and_then(|(h, e)| Some((h.parse().ok()?, e.parse().ok()?)));
            let (Some((hidden_size, expansion)), Some(inter)) = (sizes, inter.as_f64()) else {
                return Err(self.wrong_json(format!("{name}.{key}"), inter, "hHIDDEN_eEXPANSION: a width"));
            };
            ours.push(Config { hidden_size, expansion, ..CONFIG }.inter_size() as f64);
            theirs.push(inter);
        }
        let exact = super::judge::Bound { bound: 0.0, unit: super::Unit::Absolute };
        self.judge.values("swiglu_inter", exact, &ours, &theirs);
        Ok(())
    }

    fn adam_atan2(&mut self) -> Result<(), Error> {
        let len = 64;
        let read = |name: &str| self.file.f32s(&format!("adam_atan2.{name}"), &[len]);
        let betas = self.numbers(&["adam_atan2", "betas"])?;
        let &[beta1, beta2] = betas.as_slice() else {
            let given = &self.json["adam_atan2"]["betas"];
            return Err(self.wrong_json("adam_atan2.betas".into(), given, "two numbers"));
        };
        let adam = AdamAtan2 { beta1, beta2, weight_decay: self.number(&["adam_atan2", "weight_decay"])? };
        let path = self.file.path();
        // The update takes the first parameters of the arena, whatever they are.
        let mut bench = self.bench()?;
        let _ = bench.param(1, len, &[]);
        let plan = bench.plan();
        let mut k = (self.factory)(&plan).map_err(failed(path))?;
        let start = read("p0")?;
        // The file's first parameters were kept after the first update, by which they cannot be judged then: the
        // comparison of the parameters starts from there, that of the moments at once.
        let late = start == read("p1")?;
        k.write(Region::Params, 0, &start).map_err(failed(path))?;
        let lrs = self.numbers(&["adam_atan2", "lrs"])?;
        for (step, &lr) in (1..).zip(&lrs) {
            k.write(Region::Gradients, 0, &read(&format!("g{step}"))?).map_err(failed(path))?;
            let scalars = StepScalars { step, lr, puzzle_emb_lr: 0.0, seed: 0 };
            k.begin_step(&scalars).map_err(failed(path))?;
            k.adam_atan2(len, &adam).map_err(failed(path))?;
            if step == 1 && late {
                k.write(Region::Params, 0, &start).map_err(failed(path))?;
            }
            let results = [
                ("p", Region::Params, PARAMETER),
                ("m", Region::FirstMoments, GRADIENT),
                ("v", Region::SecondMoments, GRADIENT),
            ];
            for (name, region, bound) in results {
                let mut ours = vec![0.0; len];
                k.read(region, 0, &mut ours).map_err(failed(path))?;
                let tensor = format!("adam_atan2.{name}{step}");
                self.judge.floats(&format!("adam_atan2 {name}"), bound, &tensor, &[len], &wide(&ours))?;
            }
        }
        Ok(())
    }

    fn sign_sgd(&mut self) -> Result<(), Error> {
        let (rows, ndim) = (6, 5);
        let read = |name: &str| self.file.f32s(&format!("signsgd.{name}"), &[rows, ndim]);
        let mut bench = self.bench()?;
        let table = bench.param(rows, ndim, &read("w0")?);
        let gradients = bench.act(rows, ndim, &read("g")?);
        let ids = bench.ids(rows, 1, &self.file.ints("signsgd.ids", &[rows])?);
        let sgd = SignSgd { weight_decay: self.number(&["signsgd", "weight_decay"])? };
        let puzzle_emb_lr = self.number(&["signsgd", "lr"])?;
        let contents = self.run(&bench, |k| {
            k.begin_step(&StepScalars { step: 1, lr: 0.0, puzzle_emb_lr, seed: 0 })?;
            k.sign_sgd(table, ids, gradients, &sgd)
        })?;
        self.judge.floats("signsgd", PARAMETER, "signsgd.w1", &[rows, ndim], &wide(contents.param(table)))
    }
}

/// Log-sum-exp of the scaled scores `[batch * heads, positions]` of rotated queries and keys
/// `[batch, positions, heads, dim]`.
fn scores_lse(q: &[f64], k: &[f64]) -> Vec<f64> {
    let dim = HIDDEN / HEADS;
    let mut result = Vec::new();
    for b in 0..BATCH {
        for h in 0..HEADS {
            let head = |x: &[f64], s: usize| x[((b * POSITIONS + s) * HEADS + h) * dim..][..dim].to_vec();
            for i in 0..POSITIONS {
                let scores = (0..POSITIONS).map(|j| {
                    let products = head(q, i).into_iter().zip(head(k, j));
                    products.map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
                });
                result.push(scores.map(f64::exp).sum::<f64>().ln());
            }
        }
    }
    result
}
