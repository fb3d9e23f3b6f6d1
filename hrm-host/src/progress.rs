//! How training goes, for the person who waits: a bar on a terminal, a plain line every ten seconds elsewhere, nothing
//! where the output is for a program.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar that is redrawn in place.
    Bar,
    /// A line every ten seconds, for log files.
    Lines,
    /// Nothing.
    Silent,
}

impl Mode {
    /// Silent under `--json`; otherwise by whether standard error is a terminal.
    pub fn choose(json: bool) -> Self {
        match (json, std::io::stderr().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// What is known after a step; `None` is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Training loss per row.
    pub loss: Option<f64>,
    /// Share of halted rows solved without a fault, 0 to 1.
    pub exact_accuracy: Option<f64>,
    /// Mean ACT steps of the halted rows.
    pub act_steps: Option<f64>,
}

/// The progress of one run of training or evaluation, on standard error.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    bar: ProgressBar,
    meter: Meter,
    started: Instant,
    last_line: Duration,
}

const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Begins at `first_step`, 0 or where a resumed run goes on; `batch` samples make a step.
    pub fn start(mode: Mode, first_step: u64, total_steps: u64, batch: u64) -> Self {
        let target = match mode {
            Mode::Bar => ProgressDrawTarget::stderr_with_hz(8),
            Mode::Lines | Mode::Silent => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total_steps), target).with_position(first_step);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            mode,
            bar,
            meter: Meter::new(first_step, total_steps, batch),
            started: Instant::now(),
            last_line: Duration::ZERO,
        }
    }

    /// Counts `total` things that are no training steps, such as `"puzzle"`s.
    pub fn count(mode: Mode, total: u64, what: &'static str) -> Self {
        let mut progress = Self::start(mode, 0, total, 1);
        progress.meter.what = what;
        progress
    }

    /// After each step; cheap enough for every one.
    pub fn update(&mut self, step: u64, snapshot: &Snapshot) {
        let now = self.started.elapsed();
        self.meter.observe(now, step);
        match self.mode {
            Mode::Silent => {}
            Mode::Bar => {
                self.bar.set_position(step);
                self.bar.set_message(self.meter.describe(snapshot));
            }
            Mode::Lines => {
                if now - self.last_line >= LINE_EVERY || step >= self.meter.total {
                    self.last_line = now;
                    write_line(&self.meter.describe(snapshot));
                }
            }
        }
    }

    /// Says something, above the bar where there is one.
    pub fn say(&self, text: &str) {
        match self.mode {
            Mode::Silent => {}
            Mode::Bar => self.bar.println(text),
            Mode::Lines => write_line(text),
        }
    }

    /// [`say`](Self::say) for another thread, and heard even where progress is silent.
    pub fn speaker(&self) -> impl FnOnce(&str) + Send + 'static {
        let (mode, bar) = (self.mode, self.bar.clone());
        move |text| if mode == Mode::Bar { bar.println(text) } else { write_line(text) }
    }

    /// Takes time that is not training, such as an evaluation, out of the rates.
    pub fn pause(&mut self) {
        self.meter.mark = None;
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        if self.mode == Mode::Bar {
            self.bar.abandon();
        }
    }
}

fn write_line(text: &str) {
    // Progress is not worth failing for: a closed standard error is let be.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}

/// Steps per second over about the last half minute, and the words of the line.
#[derive(Debug)]
struct Meter {
    step: u64,
    total: u64,
    batch: u64,
    /// What a step is.
    what: &'static str,
    /// Time and step of the last observation.
    mark: Option<(Duration, u64)>,
    /// Decaying sums: their quotient is the rate.
    steps: f64,
    seconds: f64,
}

const MEMORY_SECONDS: f64 = 30.0;
/// What is counted in training, where samples are worth a rate of their own.
const STEP: &str = "step";

impl Meter {
    fn new(first_step: u64, total: u64, batch: u64) -> Self {
        let mark = Some((Duration::ZERO, first_step));
        Self { step: first_step, total, batch, what: STEP, mark, steps: 0.0, seconds: 0.0 }
    }

    fn observe(&mut self, now: Duration, step: u64) {
        if let Some((at, from)) = self.mark {
            let elapsed = now.saturating_sub(at).as_secs_f64();
            let keep = (-elapsed / MEMORY_SECONDS).exp();
            self.steps = self.steps * keep + step.saturating_sub(from) as f64;
            self.seconds = self.seconds * keep + elapsed;
        }
        self.mark = Some((now, step));
        self.step = step;
    }

    /// Steps per second, once there is something to divide by.
    fn rate(&self) -> Option<f64> {
        (self.seconds > 0.02 && self.steps > 0.0).then(|| self.steps / self.seconds)
    }

    fn describe(&self, snapshot: &Snapshot) -> String {
        let mut parts = vec![format!("{} {}/{}", self.what, self.step, self.total)];
        if let Some(rate) = self.rate() {
            parts.push(format!("{} {}s/s", short(rate), self.what));
            if self.what == STEP {
                parts.push(format!("{} samples/s", short(rate * self.batch as f64)));
            }
            let left = self.total.saturating_sub(self.step) as f64 / rate;
            parts.push(format!("{} left", clock(left)));
        }
        parts.extend(snapshot.loss.map(|loss| format!("loss {loss:.4}")));
        parts.extend(snapshot.exact_accuracy.map(|exact| format!("exact {:.1}%", 100.0 * exact)));
        parts.extend(snapshot.act_steps.map(|steps| format!("ACT steps {steps:.1}")));
        parts.join("  ")
    }
}

/// About three digits: `0.52`, `5.2`, `520`.
fn short(value: f64) -> String {
    let decimals = if value >= 100.0 { 0 } else { 1 + usize::from(value < 10.0) };
    format!("{value:.decimals$}")
}

/// `42s`, `3m 20s`, `2h 05m`, `3d 4h`.
pub(crate) fn clock(seconds: f64) -> String {
    let s = seconds.round().max(0.0) as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m {:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_run_is_described_in_full() {
        let mut meter = Meter::new(0, 1000, 64);
        (1..=100).for_each(|step| meter.observe(Duration::from_millis(step * 500), step));
        let snapshot = Snapshot { loss: Some(0.12345), exact_accuracy: Some(0.4567), act_steps: Some(7.25) };
        assert_eq!(
            meter.describe(&snapshot),
            "step 100/1000  2.00 steps/s  128 samples/s  7m 30s left  loss 0.1235  exact 45.7%  ACT steps 7.2"
        );
    }

    #[test]
    fn other_things_are_counted_by_their_name() {
        let mut meter = Meter { what: "puzzle", ..Meter::new(0, 100, 1) };
        (1..=10).for_each(|n| meter.observe(Duration::from_millis(n * 500), n));
        assert_eq!(meter.describe(&Snapshot::default()), "puzzle 10/100  2.00 puzzles/s  45s left");
    }

    #[test]
    fn before_the_first_step_there_is_no_rate() {
        assert_eq!(Meter::new(0, 10, 1).describe(&Snapshot::default()), "step 0/10");
    }

    #[test]
    fn the_rate_follows_a_change_and_leaves_out_pauses_and_the_steps_before_a_resume() {
        let mut meter = Meter::new(5_000, 10_000, 1);
        meter.observe(Duration::from_secs(10), 5_010);
        assert_eq!(meter.rate(), Some(1.0));
        meter.mark = None;
        meter.observe(Duration::from_secs(500), 5_010);
        meter.observe(Duration::from_secs(510), 5_020);
        assert!((meter.rate().unwrap() - 1.0).abs() < 1e-9);
        (1..=300).for_each(|n| meter.observe(Duration::from_secs(510 + n), 5_020 + 4 * n));
        assert!((meter.rate().unwrap() - 4.0).abs() < 0.01);
    }

    #[test]
    fn times_are_short() {
        for (seconds, expected) in
            [(0.4, "0s"), (59.6, "1m 00s"), (200.0, "3m 20s"), (7_500.0, "2h 05m"), (273_600.0, "3d 4h")]
        {
            assert_eq!(clock(seconds), expected);
        }
    }

    #[test]
    fn json_is_silent() {
        assert_eq!(Mode::choose(true), Mode::Silent);
    }
}
