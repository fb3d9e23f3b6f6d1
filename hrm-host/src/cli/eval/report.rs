//! The tables of an evaluation.

use std::io::{Result, Write};

use crate::cli::words::counted;
use crate::data::Dataset;
use crate::evaluate::interval::Interval;
use crate::evaluate::{Coverage, EvalReport, Intervals, Means, Paired, laws};
use crate::metrics::plot::{Chart, Series, sparkline};
use crate::strategy::{Answer, Halt};
use crate::style::{self, FAINT, STRONG};
use crate::task::Task;

/// Prints the report: the whole, then its parts, then step by step.
pub fn print(out: &mut impl Write, dataset: &Dataset, report: &EvalReport) -> Result<()> {
    let all = &report.all;
    covered(out, report.sample, all.puzzles, report.examples)?;
    writeln!(
        out,
        "{STRONG}{} solved{STRONG:#}  {} of {} puzzles in {:.1} s{}",
        percent(all.exact_accuracy),
        all.solved,
        all.puzzles,
        report.seconds,
        between(all, |it| it.exact_accuracy, percent)
    )?;
    halting(out, report)?;
    let metadata = dataset.metadata();
    let task = Task::of(metadata.seq_len, metadata.vocab_size as usize);
    if let Some(lawful) = all.lawful {
        let interval = all.interval95.as_ref().and_then(|it| it.lawful).map(|it| range(it, percent));
        line(out, laws::name(task), &percent(lawful), &interval.unwrap_or_default())?;
    }
    line(out, "cells right", &percent(all.accuracy), &between(all, |it| it.accuracy, percent))?;
    line(
        out,
        "Q-halt right",
        &percent(all.q_halt_accuracy),
        &between(all, |it| it.q_halt_accuracy, percent),
    )?;
    line(out, "ACT steps, mean", &format!("{:.3}", all.steps), &between(all, |it| it.steps, two))?;
    line(out, "token loss", &four(all.lm_loss), &between(all, |it| it.lm_loss, four))?;
    line(out, "Q-halt loss", &four(all.q_halt_loss), &between(all, |it| it.q_halt_loss, four))?;
    line(out, "puzzles per second", &format!("{:.1}", report.puzzles_per_second), "")?;
    for part in &report.by_set {
        writeln!(out, "\n  set {}: {}", part.name.set, short(&part.means))?;
    }
    if report.by_rating.len() > 1 {
        writeln!(out, "\n  by rating")?;
        for part in &report.by_rating {
            let name = format!("{} to {}", part.name.from, part.name.to);
            writeln!(out, "  {name:<14}{}", short(&part.means))?;
        }
    }
    by_step(out, report)
}

/// Says how the puzzles halted; where that was at the maximum, also what halting on Q comes to, on the same walk.
fn halting(out: &mut impl Write, report: &EvalReport) -> Result<()> {
    let most = counted(report.most_steps, "step");
    let answer = match report.strategy.answer {
        Answer::Last => "the last board counts",
        Answer::BestQ => "the board that Q likes best counts",
    };
    let name = |halt: Halt| match halt {
        Halt::Max => format!("halt max: all at {most}"),
        Halt::Q => format!("halt q: at most {most}"),
        Halt::Steps(_) => format!("halt {}: after {most}", report.most_steps),
    };
    let on_q = report.on_q.as_ref().map(|on_q| (on_q.strategy.halt, &on_q.means));
    for (halt, means) in [(report.strategy.halt, &report.all)].into_iter().chain(on_q) {
        writeln!(out, "  {:<28}{}", name(halt), short(means))?;
    }
    writeln!(out, "  {FAINT}{answer}; what follows is of {}{FAINT:#}", name(report.strategy.halt))
}

/// Says what part of the dataset was looked at, if not all of it.
pub(super) fn covered(out: &mut impl Write, sample: Coverage, puzzles: u64, of: usize) -> Result<()> {
    match sample {
        Coverage::All => Ok(()),
        Coverage::First => writeln!(
            out,
            "{FAINT}the first {puzzles} of {of} puzzles: no random sample, so without intervals{FAINT:#}"
        ),
        Coverage::Random => {
            writeln!(out, "{FAINT}a random sample of {puzzles} of {of} puzzles; with 95% intervals{FAINT:#}")
        }
    }
}

fn by_step(out: &mut impl Write, report: &EvalReport) -> Result<()> {
    let solved: Vec<f64> = report.by_step.iter().map(|step| step.means.solved as f64).collect();
    const NAME: &str = "  solved after each ACT step  ";
    let room = style::columns().saturating_sub(NAME.len()).max(8);
    writeln!(out, "\n{NAME}{}", sparkline(&solved, room))?;
    writeln!(
        out,
        "  {FAINT}step    solved       of  halting  cells right  Q-halt right  token loss{}{FAINT:#}",
        if report.all.interval95.is_some() { "  95% interval of solved" } else { "" }
    )?;
    for (index, step) in report.by_step.iter().enumerate() {
        writeln!(
            out,
            "  {FAINT}{:>4}{FAINT:#}  {:>8} {:>8} {:>8}  {:>11}  {:>12}  {:>10.4}{}",
            index + 1,
            step.means.solved,
            step.rows,
            step.halted,
            percent(step.means.accuracy),
            percent(step.means.q_halt_accuracy),
            step.means.lm_loss,
            between(&step.means, |it| it.exact_accuracy, percent)
        )?;
    }
    Ok(())
}

/// Prints what changed from another evaluation.
pub fn print_paired(out: &mut impl Write, paired: &Paired) -> Result<()> {
    let Paired { puzzles, both, only_here, only_there, difference, interval95 } = *paired;
    writeln!(
        out,
        "\n  {STRONG}{:+.2} points{STRONG:#} against the other evaluation{}",
        100.0 * difference,
        range(interval95, |share| format!("{:+.2}", 100.0 * share))
    )?;
    writeln!(
        out,
        "  of {puzzles} puzzles {both} solved by both, {only_here} only here, {only_there} only there"
    )
}

/// Cells right and puzzles solved by ACT step.
pub fn chart(report: &EvalReport) -> Chart {
    let line = |label: &str, of: fn(&Means) -> f64| {
        let points = (1..).zip(&report.by_step).map(|(step, it)| (f64::from(step), 100.0 * of(&it.means)));
        Series::new(label, points.collect())
    };
    Chart {
        title: format!("{} puzzles by ACT step", report.all.puzzles),
        x_label: "ACT step".into(),
        y_label: "of the puzzles that take the step, %".into(),
        y_includes: Some(0.0),
        series: vec![line("solved", |it| it.exact_accuracy), line("cells right", |it| it.accuracy)],
        ..Chart::default()
    }
}

fn line(out: &mut impl Write, name: &str, value: &str, interval: &str) -> Result<()> {
    writeln!(out, "  {name:<20}{value:>10}{interval}")
}

/// A part of the puzzles in one line.
fn short(means: &Means) -> String {
    format!(
        "{} of {} solved ({}), {} of cells right, {:.2} ACT steps{}",
        means.solved,
        means.puzzles,
        percent(means.exact_accuracy),
        percent(means.accuracy),
        means.steps,
        between(means, |it| it.exact_accuracy, percent)
    )
}

/// The interval of a mean, if there is one.
fn between(means: &Means, of: fn(&Intervals) -> Interval, format: fn(f64) -> String) -> String {
    means.interval95.as_ref().map_or(String::new(), |it| range(of(it), format))
}

pub(super) fn range(interval: Interval, format: fn(f64) -> String) -> String {
    format!("  {FAINT}{} to {}{FAINT:#}", format(interval.0), format(interval.1))
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn four(value: f64) -> String {
    format!("{value:.4}")
}
