//! `hrm solve`: puzzles, and how the model gets to their answers.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ask::{AskArgs, note_if_beyond};
use super::puzzle::{Asked, Puzzle};
use super::trace;
use crate::backend::{BackendArgs, HostBackend, WithBackend};
use crate::data::plain;
use crate::error::{Error, Result};
use crate::files;
use crate::model_io;
use crate::solve::{Model, Solution, TraceStep};
use crate::strategy::Strategy;
use crate::style::{self, STRONG};
use crate::task::Task;

/// Solve puzzles
#[derive(Debug, clap::Args)]
#[command(
    // Strategy::DEFAULT
    mut_arg("halt", |arg| arg.default_value("q")),
    mut_arg("answer", |arg| arg.default_value("best-q")),
    after_help = "Examples:
  hrm solve --model runs/a/best --trace 53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79
  hrm solve --model runs/a/best puzzle.txt
  hrm solve --model runs/a/best --json < puzzles.txt

A Sudoku is a line or a grid: digits, and any of . 0 * _ - x ? or spaces where a cell is empty. Frames, titles, comments,
JSON and CSV are understood. A maze is # for walls, a space or . where it is free, S and G. A grid of ARC is a row to a
line, its digits with or without spaces between them. A text may hold several puzzles."
)]
pub struct Args {
    /// The model: a directory with config.json and model.safetensors, a run, or a bundle
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// A puzzle, or a file of puzzles; - reads standard input, and so does nothing where that is no terminal
    #[arg(value_name = "PUZZLE|FILE|-", allow_hyphen_values = true)]
    pub puzzle: Option<String>,
    /// Row of the puzzle embedding, for a model that tells its puzzles apart
    #[arg(long, value_name = "ROW", default_value_t, value_parser = clap::value_parser!(i32).range(0..))]
    pub puzzle_id: i32,
    /// How it is answered.
    #[command(flatten)]
    pub ask: AskArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "its fields are documented")]
    pub backend: BackendArgs,
    /// Print the backend and its memory on standard error
    #[arg(long, short)]
    pub verbose: bool,
    /// Show the board after every ACT step, with changes and Q values
    #[arg(long)]
    pub trace: bool,
    /// Print each result as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Views that are worked on together, at most.
const BATCH: usize = 32;
/// Bytes of the longest text that is read.
const LONGEST: u64 = 64 << 20;

/// Where a puzzle's text is.
#[derive(Debug, PartialEq)]
enum Source<'a> {
    /// On the command line.
    Text(&'a str),
    /// In a file.
    File(&'a Path),
    /// On standard input.
    Stdin,
}

impl Args {
    /// Tells a puzzle from a file, from `-` and from a misspelt flag.
    fn source(&self, stdin_is_terminal: bool) -> Result<Source<'_>> {
        let expected =
            "expected a puzzle of digits and dots (of a maze #, space, S and G), a file of puzzles, or -";
        match self.puzzle.as_deref() {
            None if stdin_is_terminal => Err(Error::usage(format!("given no puzzle, {expected}"))),
            None | Some("-") => Ok(Source::Stdin),
            Some(text) if is_file(text) => Ok(Source::File(Path::new(text))),
            Some(text) if text.starts_with("--") && !is_puzzle(text) => {
                Err(Error::usage(format!("given {text:?}, {expected}")))
            }
            Some(text) if is_puzzle(text) => Ok(Source::Text(text)),
            Some(text) => Err(Error::usage(format!("given {text:?}, which is no file; {expected}"))),
        }
    }
}

/// Whether something lies there that can be read, a pipe for example.
fn is_file(text: &str) -> bool {
    Path::new(text).metadata().is_ok_and(|found| !found.is_dir())
}

/// Whether it may be a puzzle, and is no name of a file.
fn is_puzzle(text: &str) -> bool {
    let cell = |c: char| c.is_ascii_digit() || ".#SGsg*_?[█".contains(c);
    // The last dot of a puzzle has nothing but cells behind it.
    let is_word = |it: &str| (2..=8).contains(&it.len()) && it.chars().all(|c| c.is_ascii_alphabetic());
    let is_name = Path::new(text).extension().and_then(|it| it.to_str()).is_some_and(|extension| {
        is_word(extension)
            && extension.chars().any(|c| !"xXsSgGeEoO".contains(c))
            && !text.contains(char::is_whitespace)
    });
    text.chars().any(cell)
        && !is_name
        && text.strip_prefix("--").is_none_or(|rest| rest.chars().count() >= 14)
}

impl Source<'_> {
    fn read(&self) -> Result<String> {
        let (name, bytes) = match self {
            Self::Text(text) => return Ok((*text).to_owned()),
            Self::File(path) => {
                let file = files::open(path)?;
                (path.display().to_string(), limited(file).map_err(|error| files::read_error(path, error))?)
            }
            Self::Stdin => {
                let read = limited(std::io::stdin());
                let failed = |e| Error::input(format!("cannot read the puzzle from standard input: {e}"));
                ("standard input".to_owned(), read.map_err(failed)?)
            }
        };
        if bytes.len() as u64 > LONGEST {
            return Err(Error::input(format!("{name}: found more than {LONGEST} bytes, expected puzzles"))
                .hint("build a dataset of them, and evaluate on it: hrm data, hrm eval"));
        }
        plain::decode(bytes)
            .map_err(|found| Error::input(format!("{name}: {found}, expected puzzles in text")))
    }

    /// What errors in the text are said to be in.
    fn name(&self) -> Option<String> {
        match self {
            Self::File(path) => Some(format!("reading {}", path.display())),
            Self::Text(_) | Self::Stdin => None,
        }
    }
}

/// All bytes, and one more than are read of too many.
fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Solves puzzles.
///
/// # Errors
/// Wrong input, or the backend fails; and where an answer is no solution, an error that says why, after the output.
pub fn run(args: Args) -> Result<()> {
    args.backend.dispatch(Solve(&args))
}

struct Solve<'a>(&'a Args);

impl WithBackend for Solve<'_> {
    type Output = ();

    fn call<K: HostBackend>(self) -> Result<()> {
        run_on::<K>(self.0)
    }
}

fn run_on<K: HostBackend>(args: &Args) -> Result<()> {
    let strategy = args.ask.strategy()?;
    let source = args.source(std::io::stdin().is_terminal())?;
    let model = model_io::source::Source::open(&args.model)?;
    let config = *model.config();
    let text = source.read()?;
    let puzzles =
        Puzzle::parse_all(Task::of(config.seq_len, config.vocab_size), &text).map_err(
            |error| match source.name() {
                Some(name) => error.context(name),
                None => error,
            },
        )?;
    let mut model = Model::<K>::of(model, strategy.views.clamp(1, BATCH), args.backend.dtype)?;
    if args.verbose {
        writeln!(style::stderr(), "{}", super::eval::describe::<K>(model.parts().1))
            .map_err(Error::output)?;
    }
    if !args.json {
        note_if_beyond(&strategy, model.config())?;
    }
    let mut out = style::stdout();
    let mut unsolved = Vec::new();
    for (number, asked) in (1..).zip(&puzzles) {
        if !args.json && puzzles.len() > 1 {
            let name = asked.name.clone().unwrap_or_else(|| format!("puzzle {number}"));
            let gap = if number > 1 { "\n" } else { "" };
            writeln!(out, "{gap}{STRONG}{name}{STRONG:#}").map_err(Error::output)?;
        }
        if !answer(&mut out, &mut model, asked, args, strategy)? {
            unsolved.push(&asked.puzzle);
        }
    }
    if puzzles.len() > 1 && !args.json {
        let (solved, all) = (puzzles.len() - unsolved.len(), puzzles.len());
        let word = if puzzles[0].puzzle.can_be_judged() { "solved" } else { "answered" };
        writeln!(out, "\n{solved} of {all} {word}").map_err(Error::output)?;
    }
    match unsolved[..] {
        [] => Ok(()),
        [only] if puzzles.len() == 1 => Err(not_solved(only)),
        _ => {
            let message = format!("{} of {} puzzles are not solved", unsolved.len(), puzzles.len());
            let unsolvable = unsolved.iter().filter(|puzzle| puzzle.unsolvable().is_some()).count();
            let error = Error::failed(message);
            Err(match unsolvable {
                0 => error.hint(HINT),
                count => error.hint(format!("{count} of them cannot be: they have no solution")),
            })
        }
    }
}

/// Answers one puzzle, prints what came of it, and says whether it is solved, as far as can be told.
fn answer<K: HostBackend>(
    out: &mut dyn Write,
    model: &mut Model<K>,
    asked: &Asked,
    args: &Args,
    strategy: Strategy,
) -> Result<bool> {
    let puzzle = &asked.puzzle;
    let found = model.solve(&puzzle.tokens(), args.puzzle_id, strategy)?;
    if args.json {
        return print_json(out, asked, &found, args.trace);
    }
    if args.trace {
        trace::draw(out, puzzle, &found.views[0])?;
    } else {
        write!(out, "{}", puzzle.draw(found.answer(), found.answer())).map_err(Error::output)?;
    }
    trace::verdict(out, puzzle, &found)
}

const HINT: &str = "try --halt max, --vote 8, or a model that is trained for longer";

/// The error of an answer that is no solution: it has been shown already.
fn not_solved(puzzle: &Puzzle) -> Error {
    if let Some(why) = puzzle.unsolvable() {
        return Error::failed(why).hint("check it for a cell that was copied wrongly");
    }
    let error = Error::failed("the model's answer does not solve the puzzle");
    match puzzle {
        // It has one view alone.
        Puzzle::Arc(_) => error.hint("try --halt max, or a model that is trained for longer"),
        _ if puzzle.has_several_answers() => {
            error.hint("the puzzle has several solutions, and models are trained on puzzles with one")
        }
        _ => error.hint(HINT),
    }
}

/// One line of JSON; boards are text, as [`Puzzle::text`] gives them.
fn print_json(out: &mut dyn Write, asked: &Asked, found: &Solution, with_trace: bool) -> Result<bool> {
    let puzzle = &asked.puzzle;
    let fault = puzzle.fault(found.answer());
    let chosen = found.chosen();
    let mut line = json!({
        "question": puzzle.text(&puzzle.tokens()),
        "answer": puzzle.text(found.answer()),
        "solved": puzzle.can_be_judged().then_some(fault.is_none()),
        "steps": found.steps(),
        "answer_step": chosen.step,
        "q_halt": chosen.q_halt,
        "q_continue": chosen.q_continue,
        "views": found.views.len(),
        "votes": found.votes,
    });
    if let Some(name) = &asked.name {
        line["name"] = json!(name);
    }
    if let Some(fault) = &fault {
        line["fault"] = json!(puzzle.unsolvable().unwrap_or(fault));
    }
    if with_trace {
        let step = |step: &TraceStep| {
            json!({
                "step": step.step,
                "board": puzzle.text(&step.tokens),
                "q_halt": step.q_halt,
                "q_continue": step.q_continue,
            })
        };
        line["trace"] = found.views[0].steps.iter().map(step).collect();
    }
    writeln!(out, "{line}").map_err(Error::output)?;
    Ok(fault.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::parse;
    use crate::strategy::Halt;

    fn args(line: &[&str]) -> Args {
        parse(&[&["--model", "m"], line].concat()).unwrap()
    }

    #[test]
    fn a_puzzle_is_text_a_file_or_standard_input() {
        let read = args(&["-", "--halt", "3", "--trace"]);
        assert_eq!((read.source(true).unwrap(), read.trace, read.json), (Source::Stdin, true, false));
        assert_eq!(read.ask.strategy().unwrap(), Strategy { halt: Halt::Steps(3), ..Strategy::DEFAULT });
        assert_eq!(args(&["-"]).ask.strategy().unwrap(), Strategy::DEFAULT);
        assert_eq!(args(&[]).source(false).unwrap(), Source::Stdin);
        for text in [
            "1 . | 3 4\n3 4 | . 2",
            "-5----2----7-9--",
            "S #\n   \n# G",
            "[[0, 1]]",
            "--5----2----7-9-",
            "12.4.....1......",
            "1.x..x.xx.x.x.xx",
            "S...#...G",
            "S#...G",
        ] {
            assert_eq!(args(&["--json", text]).source(true).unwrap(), Source::Text(text));
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("1.txt");
        std::fs::write(&file, b"\xef\xbb\xbf12").unwrap();
        let read = args(&[file.to_str().unwrap()]);
        assert_eq!(read.source(true).unwrap().read().unwrap(), "12");
        for (bad, words) in [
            (&[][..], "given no puzzle"),
            (&["abc"], "is no file"),
            (&["--3"], "given \"--3\""),
            (&["puzzle1.txt"], "\"puzzle1.txt\", which is no file"),
        ] {
            let error = args(bad).source(true).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for bad in [&["-", "--halt", "soon"][..], &["1.", "2."]] {
            assert!(parse::<Args>(&[&["--model", "m"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
