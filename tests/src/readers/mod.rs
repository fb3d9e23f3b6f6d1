//! Every reader of foreign bytes, as a function of bytes: none may panic, whatever they are.
//!
//! `fuzz/` feeds them by coverage; `tests/readers.rs` feeds them damaged [`seeds`] on stable Rust, for seconds. A reader
//! joins by a line in [`READERS`], seeds of its own, and a target in `fuzz/`.

pub mod seeds;

use std::cell::OnceCell;
use std::convert::Infallible;
use std::io::{Cursor, Write};
use std::path::Path;

use hrm_core::bundle::{Bundle, PREAMBLE, Preamble};
use hrm_core::plan::{Mode, Plan};
use hrm_host::arc::submission::{Reading, Submission};
use hrm_host::data::Metadata;
use hrm_host::data::arc::{Augmentation, Content, Task};
use hrm_host::data::maze;
use hrm_host::data::npy::Npy;
use hrm_host::data::puzzle_csv::PuzzleReader;
use hrm_host::data::sudoku::csv::check;
use hrm_host::data::sudoku::source::PuzzleFile;
use hrm_host::data::sudoku::{Board, Size};
use hrm_host::evaluate::{Answered, Paired};
use hrm_host::model_dir;
use hrm_host::model_io::architecture::{self, Sources};
use hrm_host::model_io::checkpoint::Checkpoint;
use hrm_host::model_io::identifiers;
use hrm_host::puzzle::Puzzle;
use hrm_host::settings::Settings;
use hrm_host::task;
use hrm_host::tensor_match::{compare, shape};
use hrm_host::train;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A reader by its name.
pub type Reader = (&'static str, fn(&[u8]));

/// All of them.
pub const READERS: [Reader; 16] = [
    ("npy", npy),
    ("dataset_json", dataset_json),
    ("identifiers_json", identifiers_json),
    ("sudoku_csv", sudoku_csv),
    ("maze_csv", maze_csv),
    ("arc_task", arc_task),
    ("arc_submission", arc_submission),
    ("answers_jsonl", answers_jsonl),
    ("puzzle_text", puzzle_text),
    ("settings_toml", settings_toml),
    ("config_json", config_json),
    ("all_config_yaml", all_config_yaml),
    ("safetensors", safetensors),
    ("pytorch", pytorch),
    ("pickle", pickle),
    ("bundle", bundle),
];

/// Calls `read` with a file of these bytes; there is one file in each thread.
fn with_file(bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static DIR: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
    }
    DIR.with(|dir| {
        let dir = dir.get_or_init(|| tempfile::tempdir().expect("a directory for temporary files"));
        let path = dir.path().join("bytes");
        std::fs::write(&path, bytes).expect("room for a temporary file");
        read(&path);
    });
}

/// NumPy arrays.
pub fn npy(bytes: &[u8]) {
    with_file(bytes, |path| {
        let Ok(array) = Npy::open(path) else { return };
        let elements: usize = array.shape().iter().product();
        for index in [0, 1, elements.wrapping_sub(1), elements] {
            let value = array.get(index);
            assert_eq!(value.is_some(), index < elements);
        }
    });
}

/// Descriptions of datasets.
pub fn dataset_json(bytes: &[u8]) {
    with_file(bytes, |path| drop(Metadata::read(path)));
}

/// Names of puzzle identifiers.
pub fn identifiers_json(bytes: &[u8]) {
    with_file(bytes, |path| drop(identifiers::read(path)));
}

/// Files of Sudoku puzzles; each is solved.
pub fn sudoku_csv(bytes: &[u8]) {
    with_file(bytes, |path| {
        let Ok(mut reader) = PuzzleFile::open(path) else { return };
        let mut size = None;
        // A few are enough: rows do not know of each other but for their size.
        for _ in 0..4 {
            let Ok(Some(row)) = reader.next_row() else { return };
            if let Ok(checked) = check(path, &row, size)
                && let Some(puzzle) = checked.puzzle()
            {
                assert!(
                    puzzle.answer.is_solved() && puzzle.answer.first_difference(&puzzle.question).is_none()
                );
                size = Some(puzzle.question.size());
            }
        }
    });
}

/// Files of mazes; each is solved.
pub fn maze_csv(bytes: &[u8]) {
    let path = Path::new("mazes.csv");
    let Ok(mut reader) = PuzzleReader::new(path, maze::csv::KIND, bytes) else { return };
    let mut side = None;
    for _ in 0..4 {
        let Ok(Some(row)) = reader.next_row() else { return };
        if let Ok((maze, answer)) = maze::csv::check(path, &row, side) {
            side = Some(maze.side());
            assert!(maze.is_solved_by(&answer) && maze.solve().is_some());
        }
    }
}

/// Files of ARC in every form; the bytes are also the name of an augmentation, which is undone on every grid.
pub fn arc_task(bytes: &[u8]) {
    let (_, augmentation) = Augmentation::of_name(std::str::from_utf8(bytes).unwrap_or_default());
    let tasks: Vec<Task> = match Content::parse(Path::new("task.json"), bytes) {
        Ok(Content::Task(task)) => vec![task],
        Ok(Content::Tasks(tasks)) => tasks,
        Ok(Content::Solutions(_) | Content::Submission) | Err(_) => return,
    };
    for pair in tasks.iter().flat_map(|task| task.train.iter().chain(&task.test)) {
        assert_eq!(augmentation.undo(&augmentation.apply(&pair.input)), pair.input);
    }
}

/// Submissions to the ARC Prize.
pub fn arc_submission(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(Reading { faults, no_grids, .. }) = Submission::parse(text) {
        assert!(no_grids <= faults.len());
    }
}

/// Answers of an evaluation, one to a line; they are compared with themselves.
pub fn answers_jsonl(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(answers) = Answered::parse(Path::new("answers.jsonl"), text) else { return };
    if let Ok(same) = Paired::of(&answers, &answers) {
        assert_eq!((same.puzzles, same.only_here, same.only_there), (answers.len() as u64, 0, 0));
    }
}

/// Puzzles as people write them, of every task; what is read is drawn and read again.
pub fn puzzle_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for task in [
        task::Task::Sudoku(Size::Nine),
        task::Task::Sudoku(Size::Four),
        task::Task::Maze { side: 3 },
        task::Task::Arc { side: 30 },
    ] {
        let Ok(found) = Puzzle::parse_all(task, text) else { continue };
        assert!(!found.is_empty());
        for asked in found.iter().take(4) {
            let again = Puzzle::parse(task, &asked.puzzle.text(&asked.puzzle.tokens()));
            // Of several Sudokus each may contradict itself, which one alone may not.
            if let Ok(again) = again {
                assert_eq!(again, asked.puzzle);
            }
        }
    }
    let _ = Board::parse(text);
}

/// Settings of a training run, and single assignments.
pub fn settings_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut settings = Settings::default();
    let _ = settings.set(text);
    if settings.text("bytes", text).is_ok() {
        let _ = settings.build::<train::Settings>();
    }
}

/// Configurations of models.
pub fn config_json(bytes: &[u8]) {
    with_file(bytes, |path| {
        if let Ok(config) = model_dir::read_config::<Infallible>(path) {
            let _ = Plan::new(&config, 3, Mode::Training);
        }
    });
}

/// The published program's configurations.
pub fn all_config_yaml(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = architecture::parse(text);
    }
}

/// Tensor files.
pub fn safetensors(bytes: &[u8]) {
    with_file(bytes, checkpoint);
}

/// Checkpoints of PyTorch, as they are.
pub fn pytorch(bytes: &[u8]) {
    with_file(bytes, checkpoint);
}

/// Checkpoints of PyTorch with this pickle: their checksums would else stop nearly all that is not one.
pub fn pickle(bytes: &[u8]) {
    let archive = || -> zip::result::ZipResult<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, content) in
            [("data.pkl", bytes), ("byteorder", b"little"), ("data/0", &[1; 64]), ("data/1", &[2; 64])]
        {
            archive.start_file(format!("archive/{name}"), stored)?;
            archive.write_all(content)?;
        }
        Ok(archive.finish()?.into_inner())
    };
    with_file(&archive().expect("an archive in memory"), checkpoint);
}

/// Opens a checkpoint, finds out what it is, compares its tensors and reads them.
fn checkpoint(path: &Path) {
    let Ok(mut checkpoint) = Checkpoint::open(path) else { return };
    let set = ["num_heads=1", "H_cycles=2", "L_cycles=2", "halt_max_steps=4", "seq_len=4"].map(str::to_owned);
    let sources = Sources { set: &set, ..Sources::default() };
    if let Ok(found) = architecture::find(&checkpoint, &sources)
        && let Ok(plan) = Plan::new(&found.config, 1, Mode::Inference)
    {
        let _ = compare(checkpoint.tensors(), &plan.params, shape);
    }
    for place in 0..checkpoint.tensors().len() {
        let elements: usize = checkpoint.tensors()[place].shape.iter().product();
        if let Ok(values) = checkpoint.read(place) {
            assert_eq!(values.len(), elements);
        }
    }
}

/// Bundles: as they are, and with length and checksum put right.
pub fn bundle(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let Ok(bundle) = Bundle::parse(bytes) else { return };
        let tensors = bundle.tensors().inspect(|(tensor, weights)| {
            assert_eq!((weights.len(), weights.values().count()), (tensor.span.len(), tensor.span.len()));
            assert!(weights.scales().all(|scale| scale > 0.0 && scale.is_finite()));
        });
        let plan =
            Plan::new(bundle.config(), 1, Mode::Inference).expect("a plan for a checked configuration");
        assert_eq!(tensors.count(), plan.params.tensors().count());
        let words = bundle.vocabulary().count();
        assert!(words == 0 || words == bundle.config().vocab_size);
    };
    read(bytes);
    let Some((fixed, rest)) = bytes.split_first_chunk::<PREAMBLE>() else { return };
    let header_len = u32::from_le_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]);
    let preamble = Preamble { version: 1, header_len, len: bytes.len() as u64 };
    let mut crc = crc32fast::Hasher::new();
    crc.update(&preamble.checked_bytes());
    crc.update(rest);
    read(&[&preamble.to_bytes(crc.finalize())[..], rest].concat());
}
