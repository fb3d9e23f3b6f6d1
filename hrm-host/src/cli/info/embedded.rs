//! `hrm info --embedded`: what a model needs on a microcontroller.

use std::io::Write;
use std::path::Path;

use crate::embedded::{self, Needs};
use crate::error::{Error, Result};
use crate::memory::human;
use crate::model_io::source::Source;
use crate::style::{FAINT, STRONG};

/// Prints what the model in `path` needs, or typical ones if there is none.
pub fn run(out: &mut impl Write, path: Option<&Path>, json: bool) -> Result<()> {
    let all = match path {
        Some(path) => vec![of(path)?],
        None => embedded::typical()?,
    };
    if json {
        let line = serde_json::to_string(&all).map_err(|error| Error::failed(error.to_string()))?;
        return writeln!(out, "{line}").map_err(Error::output);
    }
    print(out, &all).map_err(Error::output)
}

fn of(path: &Path) -> Result<Needs> {
    let name = path.display().to_string();
    Needs::of(name, Source::open(path)?.config())
}

fn print(out: &mut impl Write, all: &[Needs]) -> std::io::Result<()> {
    let widest = all.iter().map(|needs| needs.name.chars().count()).max().unwrap_or(0);
    writeln!(
        out,
        "{FAINT}{:widest$}{:>12}{:>12}{:>12}{:>12}{:>13}{:>7}{:>15}{FAINT:#}",
        "", "flash f32", "f16", "int8", "scratch", "MAC per step", "steps", "MAC per puzzle"
    )?;
    for Needs { name, flash, scratch, step, most_steps, puzzle, .. } in all {
        writeln!(
            out,
            "{STRONG}{name:widest$}{STRONG:#}{:>12}{:>12}{:>12}{:>12}{:>13}{most_steps:>7}{:>15}",
            human(flash.f32),
            human(flash.f16),
            human(flash.int8),
            human(*scratch as u64),
            millions(*step),
            millions(*puzzle)
        )?;
    }
    writeln!(out, "  flash: the bundle; scratch: what the solver works in, the stack comes on top")?;
    writeln!(out, "  MAC: multiply-accumulates; a puzzle at most, halting early saves steps")
}

fn millions(count: u64) -> String {
    format!("{:.1} M", count as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_typical_ones_are_a_table_or_a_line() {
        let text = |json| {
            let mut out = Vec::new();
            run(&mut out, None, json).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(false).lines().filter(|line| line.contains("KiB") || line.contains("MiB")).count(),
            8
        );
        let line: serde_json::Value = serde_json::from_str(&text(true)).unwrap();
        assert_eq!(line.as_array().map(Vec::len), Some(8));
        assert_eq!(line[7]["flash"]["f32"].as_u64(), Some(embedded::typical().unwrap()[7].flash.f32));
    }
}
