//! The command line of the `hrm` program: one file per command, each with its arguments, their validation into typed
//! options, and its run.

pub mod arc;
pub mod ask;
pub mod bench;
pub mod check;
pub mod completions;
mod counter;
pub mod data;
mod devices;
pub mod eval;
pub mod export;
pub mod import;
pub mod info;
pub mod presets;
pub mod quickstart;
pub mod solve;
mod trace;
pub mod train;
pub mod values;
mod watch;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;
use crate::puzzle;
use crate::style::{self, Color};
use crate::threads::{self, Threads};

/// The Hierarchical Reasoning Model: train, evaluate and solve puzzles
#[derive(Debug, Parser)]
#[command(name = "hrm", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 success, 1 failed, 2 wrong usage or input, 130 interrupted.")]
pub struct Cli {
    /// When to use colour; `auto` respects NO_COLOR
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each command is documented by its arguments")]
pub enum Command {
    Quickstart(quickstart::Args),
    Data(data::Args),
    Presets(presets::Args),
    Train(train::Args),
    Eval(eval::Args),
    Solve(solve::Args),
    Arc(arc::Args),
    Check(check::Args),
    Bench(bench::Args),
    Info(info::Args),
    Import(import::Args),
    Export(export::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Quickstart(args) => quickstart::run(&args),
            Self::Data(args) => data::run(args),
            Self::Presets(args) => presets::run(&args),
            Self::Train(args) => train::run(args),
            Self::Eval(args) => eval::run(&args),
            Self::Solve(args) => solve::run(args),
            Self::Arc(args) => arc::run(&args),
            Self::Check(args) => check::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::Info(args) => info::run(&args),
            Self::Import(args) => import::run(args),
            Self::Export(args) => export::run(&args),
            Self::Completions(args) => completions::run(&args),
        }
    }
}

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    // A system that refuses these leaves their signals to end the program as they always did.
    let _ = crate::interrupt::fail_rather_than_abort();
    #[cfg(unix)]
    let _ = crate::data::mmap::explain_bus_errors();
    run(std::env::args_os().collect())
}

/// Runs the program on these arguments, the first being its name, and reports an error on standard error.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that goes into a closed pipe is fine.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    cli.color.apply();
    match start_threads().and_then(|()| cli.command.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nowhere left to say so; the exit code still does.
            let _ = error.report(&mut style::stderr());
            ExitCode::from(error.exit_code())
        }
    }
}

/// Makes the threads that compute, and says so where there are fewer than were wanted.
fn start_threads() -> Result<()> {
    let Threads { made, wanted } = threads::start()?;
    if made < wanted {
        let text = format!(
            "computing on {} of {wanted}: the system gives no more (ulimit -u, the container's limit)",
            words::counted(made, "thread")
        );
        // It is no more than a note.
        let _ = writeln!(style::stderr(), "{text}");
    }
    Ok(())
}

/// Parses arguments; help and version come back as an error with exit code 0, as clap has it.
pub fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command().color(help_color(&args));
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The choice for clap's own help and errors, which are printed before `--color` is parsed.
fn help_color(args: &[OsString]) -> ColorChoice {
    let mut rest = args.iter().filter_map(|arg| arg.to_str()).skip_while(|arg| !arg.starts_with("--color"));
    let value = match rest.next() {
        Some("--color") => rest.next(),
        Some(joined) => joined.strip_prefix("--color="),
        None => None,
    };
    match value {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod testing {
    //! Parses one command's arguments as they would follow its name.

    use clap::Args;

    pub(crate) fn parse<A: Args>(line: &[&str]) -> Result<A, String> {
        let command = A::augment_args(clap::Command::new("hrm").no_binary_name(true));
        command.clone().debug_assert();
        let matches = command.try_get_matches_from(line).map_err(|error| error.to_string())?;
        A::from_arg_matches(&matches).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(line: &str) -> i32 {
        parse(line.split(' ').map(OsString::from).collect()).map_or_else(|error| error.exit_code(), |_| 0)
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_s_arguments_fit_beside_the_global_ones() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for line in [
            "hrm data sudoku --generate 3 --size 4 --out d --split test --color never",
            "hrm train --preset sudoku-mini --data d --out r --color always",
            "hrm --color never info runs/a",
        ] {
            assert!(cli.clone().try_get_matches_from(line.split(' ')).is_ok(), "{line}");
        }
        for name in ["quickstart", "train", "eval", "solve", "arc", "check", "info", "import", "export"] {
            let help = cli.clone().try_get_matches_from(["hrm", name, "--help"]).unwrap_err().to_string();
            assert!(help.contains(&format!("hrm {name}")) && help.contains("Examples:"), "{help}");
        }
        for name in ["sudoku", "maze", "arc", "inspect"] {
            let help =
                cli.clone().try_get_matches_from(["hrm", "data", name, "--help"]).unwrap_err().to_string();
            assert!(help.contains(&format!("hrm data {name}")) && help.contains("Examples:"), "{help}");
        }
    }

    #[test]
    fn help_and_version_succeed_and_wrong_usage_is_2() {
        for line in
            ["hrm --help", "hrm --version", "hrm completions --help", "hrm completions bash --color never"]
        {
            assert_eq!(exit_code(line), 0, "{line}");
        }
        for line in ["hrm", "hrm fly", "hrm completions", "hrm completions bash --color blue", "hrm --flag"] {
            assert_eq!(exit_code(line), 2, "{line}");
        }
    }

    #[test]
    fn the_colour_of_help_follows_the_flag() {
        let choice = |line: &str| help_color(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(choice("hrm --color never --help"), ColorChoice::Never);
        assert_eq!(choice("hrm --color=always --help"), ColorChoice::Always);
        assert_eq!(choice("hrm --help"), ColorChoice::Auto);
    }
}
