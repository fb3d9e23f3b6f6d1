//! `hrm check`: this machine's numbers against golden ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use hrm_core::config::ForwardDtype;
use hrm_core::plan::Plan;
use serde_json::json;

use crate::backend::{BackendArgs, TrainBackend, WithTrainBackend};
use crate::error::{Error, Result};
use crate::golden::{self, Check, Lacking, Report};
use crate::style::{self, BAD, FAINT, GOOD};

/// Compare a backend with golden numbers: error and bound of each tensor group
///
/// Lists what the golden files do not hold. Exits with 1 when any group misses its bound, or when nothing was compared.
#[derive(Debug, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  hrm check --golden ../shared/golden
  hrm check --golden ../shared/golden --backend reference --json")]
pub struct Args {
    /// The directory of golden numbers
    #[arg(long, value_name = "DIR")]
    pub golden: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Print each group as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Why a backend of integers is not compared.
const WHY: &str = "weights of 8 bits miss numbers of full precision by more than any bound, and golden numbers are of \
                   gradients, too; compare `hrm eval --backend int8` with cpu";

/// Compares.
///
/// # Errors
/// A golden file is bad, the backend fails, a group misses its bound, or there was nothing to compare.
pub fn run(args: &Args) -> Result<()> {
    let mut out = style::stdout();
    let mut closed = None;
    let mut progress = |check: &Check| {
        if closed.is_none() {
            closed = print(&mut out, check, args.json).err();
        }
    };
    let report =
        args.backend.dispatch_training(WHY, GoldenCheck { dir: &args.golden, progress: &mut progress })?;
    if let Some(error) = closed {
        return Err(Error::output(error));
    }
    summary(&report, args)
}

struct GoldenCheck<'a> {
    dir: &'a Path,
    progress: &'a mut dyn FnMut(&Check),
}

impl WithTrainBackend for GoldenCheck<'_> {
    type Output = Report;

    fn call<K: TrainBackend>(self) -> Result<Report> {
        let f32 = |plan: &Plan| {
            let mut plan = *plan;
            plan.config.forward_dtype = ForwardDtype::Float32;
            K::create(&plan)
        };
        // A machine without a device that can be used is no matter of a golden file.
        K::room().map_err(Error::backend)?;
        golden::check_dir(self.dir, self.progress, f32, Some(&K::create_bf16))
            .map_err(|e| Error::input(e.to_string()))
    }
}

fn print(out: &mut impl Write, check: &Check, as_json: bool) -> std::io::Result<()> {
    if as_json {
        let line = json!({
            "file": check.file,
            "group": check.group,
            "error": check.error,
            "bound": check.bound,
            "unit": check.unit.to_string(),
            "passed": check.passed(),
        });
        return writeln!(out, "{line}");
    }
    let style = if check.passed() { GOOD } else { BAD };
    writeln!(out, "{style}{check}{style:#}")
}

fn summary(report: &Report, args: &Args) -> Result<()> {
    let mut out = style::stdout();
    for lacking in &report.lacking {
        let line = if args.json {
            let Lacking { file, group, tensors } = lacking;
            json!({ "file": file, "group": group, "lacking": tensors }).to_string()
        } else {
            format!("{FAINT}{lacking}{FAINT:#}")
        };
        writeln!(out, "{line}").map_err(Error::output)?;
    }
    if report.checks.is_empty() {
        return Err(Error::failed(format!("{}: nothing was compared", args.golden.display())).hint(
            "expected beside NAME.config.json and NAME.weights.safetensors are NAME.eval.safetensors, \
             NAME.train_stablemax.safetensors or the like",
        ));
    }
    let misses = report.misses().count();
    if misses > 0 {
        return Err(Error::failed(format!("{misses} of {} groups miss their bound", report.checks.len())));
    }
    if !args.json {
        let lacking = match report.lacking.len() {
            0 => String::new(),
            count => format!(", {count} could not be compared, or not wholly"),
        };
        writeln!(out, "all {} groups are within their bounds{lacking}", report.checks.len())
            .map_err(Error::output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cli::testing::parse;

    #[test]
    fn the_backend_is_the_cpu_unless_said_otherwise() {
        let golden: PathBuf = "g".into();
        let plain = Args { golden: golden.clone(), backend: BackendArgs::default(), json: false };
        assert_eq!(parse(&["--golden", "g"]), Ok(plain));
        let backend = BackendArgs { backend: Backend::Reference, dtype: None };
        let judge = Args { golden, backend, json: true };
        assert_eq!(parse(&["--golden", "g", "--backend", "reference", "--json"]), Ok(judge));
        assert!(parse::<Args>(&[]).is_err());
    }
}
