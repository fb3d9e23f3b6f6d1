//! The tables of a sweep, in Markdown, so that they can be kept.

use std::io::{Result, Write};

use super::report::{covered, percent};
use crate::cli::words::counted;
use crate::evaluate::Coverage;
use crate::evaluate::sweep::{Setting, Sweep};
use crate::strategy::{Answer, Halt, Strategy};

/// Prints two tables: every kind of setting, and the best for what it costs.
pub fn print(out: &mut impl Write, sweep: &Sweep) -> Result<()> {
    let views = sweep.views();
    covered(out, sweep.sample, sweep.puzzles, sweep.examples)?;
    writeln!(out, "Solved of {} puzzles, and the mean ACT steps of a puzzle:\n", sweep.puzzles)?;
    let names: Vec<String> = views.iter().map(|&views| counted(views, "view")).collect();
    writeln!(out, "| halt | answer | {} |", names.join(" | "))?;
    writeln!(out, "|---|---|{}", "---|".repeat(views.len()))?;
    let first = sweep.settings.iter().filter(|setting| setting.strategy.views == 1);
    for row in first.filter(|setting| is_shown(setting.strategy, sweep)) {
        let same = |setting: &&Setting| {
            setting.strategy == Strategy { views: setting.strategy.views, ..row.strategy }
        };
        let cells = sweep.settings.iter().filter(same).map(|setting| {
            format!("{} ({}), {:.1}", setting.solved, percent(setting.exact_accuracy), setting.steps)
        });
        let cells: Vec<String> = cells.collect();
        writeln!(out, "| {} | {} | {} |", halt(row.strategy), answer(row.strategy), cells.join(" | "))?;
    }
    writeln!(out, "\nThe best at no more than a number of steps:\n")?;
    let (title, rule) = if sweep.sample == Coverage::Random { (" 95% interval |", "---|") } else { ("", "") };
    writeln!(out, "| mean ACT steps, at most | setting | ACT steps | solved |{title}")?;
    writeln!(out, "|---|---|---|---|{rule}")?;
    if let Some(published) = sweep.published() {
        row(out, "published", published)?;
    }
    for budget in views.iter().map(|views| views * sweep.halt_max_steps) {
        if let Some(best) = sweep.best_within(budget as f64) {
            row(out, &budget.to_string(), best)?;
        }
    }
    writeln!(out, "\n{:.1} s", sweep.seconds)
}

fn row(out: &mut impl Write, budget: &str, setting: &Setting) -> Result<()> {
    let Strategy { views, .. } = setting.strategy;
    let interval = setting.interval95.map(|it| format!(" {} to {} |", percent(it.0), percent(it.1)));
    writeln!(
        out,
        "| {budget} | halt {}, answer {}, {} | {:.2} | {} ({}) |{}",
        halt(setting.strategy),
        answer(setting.strategy),
        counted(views, "view"),
        setting.steps,
        setting.solved,
        percent(setting.exact_accuracy),
        interval.unwrap_or_default()
    )
}

/// Whether a setting has a row of its own: halts at powers of two from 4, and at the maxima.
fn is_shown(strategy: Strategy, sweep: &Sweep) -> bool {
    let steps = |strategy: Strategy| match strategy.halt {
        Halt::Steps(steps) => Some(steps),
        Halt::Max | Halt::Q => strategy.max_steps,
    };
    let last = sweep.settings.iter().filter_map(|setting| steps(setting.strategy)).max();
    let is_maximum = |steps: usize| steps == sweep.halt_max_steps || Some(steps) == last;
    steps(strategy).is_none_or(|steps| is_maximum(steps) || (steps > 2 && steps.is_power_of_two()))
}

fn halt(strategy: Strategy) -> String {
    match (strategy.halt, strategy.max_steps) {
        (Halt::Steps(steps), _) => steps.to_string(),
        (Halt::Max, _) => "max".into(),
        (Halt::Q, Some(most)) => format!("q, at most {most}"),
        (Halt::Q, None) => "q".into(),
    }
}

fn answer(strategy: Strategy) -> &'static str {
    match strategy.answer {
        Answer::Last => "last",
        Answer::BestQ => "best-q",
    }
}
