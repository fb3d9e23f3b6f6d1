//! Good bytes for every reader, to begin with.

use std::convert::Infallible;
use std::path::Path;

use hrm_core::config::{Config, PosEncodings};
use hrm_core::plan::{Mode, Plan};
use hrm_core::tensors::Tensor;
use hrm_host::data::npy::{Dtype, NpyWriter};
use hrm_host::model_dir;
use hrm_host::model_io::bundle::{self, Encoding};
use hrm_host::numbers::Precision;

const FIXTURES: [&[u8]; 4] = [
    include_bytes!("../../../fixtures/pt/published.pt"),
    include_bytes!("../../../fixtures/pt/dtypes.pt"),
    include_bytes!("../../../fixtures/pt/views.pt"),
    include_bytes!("../../../fixtures/pt/zip64_deflated.pt"),
];

const CSV: &str = "source,question,answer,rating
a,..........4.....,,0
x,1.3.34122.43.3.1,1234341221434321,3
y,53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79,\
534678912672195348198342567859761423426853791713924856961537284287419635345286179,0
";

const MAZES: &str = "source,question,answer,rating
a,S  #  ##G,Soo#o##oG,4
b,S   G,S   G,1
c,S #    G ,S #oooG ,4
";

const TASK: &str = r#"{"train": [{"input": [[0, 1, 2], [3, 4, 5]], "output": [[9]]}],
"test": [{"input": [[7, 7], [0, 8]], "output": [[1, 2], [3, 4]]}]}"#;

/// The two files of the ARC Prize, and a list of pairs.
const CHALLENGES: &str =
    r#"{"007bbfb7": {"train": [{"input": [[0, 1]], "output": [[9]]}], "test": [{"input": [[7]]}]}}"#;
const SOLUTIONS: &str = r#"{"007bbfb7": [[[4, 5], [6, 7]], null]}"#;
const PAIRS: &str = "\u{feff}[{\"input\": [[0, 1]], \"output\": [[9]]}]";

const SUBMISSION: &str = r#"{"007bbfb7": [{"attempt_1": [[0, 1], [2, 3]], "attempt_2": [[9]]}]}"#;

/// Attempts of language models: records, among them one without a grid.
const RECORDS: &str =
    r#"{"a": [{"attempt_1": {"answer": [[1.0, 2]], "cost": 0.1}, "attempt_2": {"answer": "none"}}, {}]}"#;

const ANSWERS: &str = r#"{"set":0,"example":0,"puzzle":"00000000000000ab","solved":true,"correct":81,"steps":5}
{"set":0,"example":1,"puzzle":"ffffffffffffffff","solved":false,"correct":44,"steps":16}
"#;

const ALL_CONFIG: &str = "arch:
  H_cycles: 2
  H_layers: 4
  L_cycles: 2
  L_layers: 4
  expansion: 4
  halt_exploration_prob: 0.1
  halt_max_steps: 16
  hidden_size: 512
  loss: {loss_type: stablemax_cross_entropy, name: losses@ACTLossHead}
  name: hrm.hrm_act_v1@HierarchicalReasoningModel_ACTV1
  num_heads: 8
  pos_encodings: rope
  puzzle_emb_ndim: 512
eval_save_outputs: []
lr: 7.0e-05
";

const DATASET: &str = r#"{"pad_id": 0, "ignore_label_id": 0, "blank_identifier_id": 0, "vocab_size": 11, "seq_len": 81,
"num_puzzle_identifiers": 1, "total_groups": 5, "mean_puzzle_examples": 1.0, "sets": ["all"]}"#;

/// A model of a few numbers.
const CONFIG: Config = Config {
    seq_len: 4,
    vocab_size: 3,
    num_puzzle_identifiers: 2,
    hidden_size: 2,
    num_heads: 1,
    h_layers: 1,
    l_layers: 1,
    puzzle_emb_ndim: 2,
    pos_encodings: PosEncodings::Learned,
    ..Config::SUDOKU_EXTREME
};

/// The seeds of a reader.
///
/// # Panics
/// There is no room for temporary files.
#[must_use]
pub fn of(reader: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match reader {
        "npy" => {
            let array = |columns| {
                written(|path| {
                    let mut writer = NpyWriter::create(path, Dtype::U8, columns).expect("a writer");
                    writer.write(&[1, 2, 3, 4, 5, 6]).expect("room");
                    writer.finish().expect("room");
                })
            };
            vec![array(None), array(Some(3))]
        }
        "dataset_json" => texts(&[DATASET]),
        "identifiers_json" => texts(&[r#"["<blank>", "a", "b"]"#]),
        "sudoku_csv" => texts(&[
            CSV,
            "quizzes;solutions;difficulty\n1.34341221434321;1234341221434321;2,5\n",
            "# a list\n00a 1.34341221434321  1.5\n31.........1.2..\n",
            "Grid 01\n1.34\n3412\n2143\n4321\n",
            "question,answer\n\"1.34\n3412\n2143\n4321\",\n",
        ]),
        "puzzle_text" => texts(&[
            "41..23..4....1.4.",
            "1 . | 3 4\n3 4 | . 2\n----+----\n2 . | 4 3\n. 3 | . 1\n",
            "[Puzzle]\n53--7----\n6--195---\n-98----6-\n8---6---3\n4--8-3--1\n7---2---6\n-6----28-\n---419--5\n----8--79\n",
            "53  7\n6  195\n 98    6\n8   6   3\n4  8 3  1\n7   2   6\n 6    28\n   419  5\n    8  79\n",
            "{\"puzzle\": [[1, 0, 3, 4], [3, 4, 0, 2], [2, 0, 4, 3], [0, 3, 0, 1]], \"rating\": 2}",
            "| 1 23 | 3 4 |\n| 3 4 | 12 2 |\n| 2 1 | 4 3 |\n| 4 3 | 2 1 |\n",
            "S.#\n\n#.G\n",
            "[[0 1 2]\n [3 4 5]]",
            "012 345",
        ]),
        "settings_toml" => {
            let mut seeds: Vec<Vec<u8>> = texts(&["lr=3e-4", "arch.hidden_size=64"]);
            seeds.push(include_bytes!("../../../hrm-host/src/presets/sudoku-4x4.toml").to_vec());
            seeds
        }
        "config_json" => vec![serde_json::to_vec_pretty(&CONFIG).expect("a configuration in JSON")],
        "all_config_yaml" => texts(&[ALL_CONFIG]),
        "safetensors" => vec![weights(Precision::F32), weights(Precision::F16)],
        "maze_csv" => texts(&[MAZES]),
        "arc_task" => texts(&[TASK, CHALLENGES, SOLUTIONS, PAIRS, "00d62c1b_t4_0821357469"]),
        "arc_submission" => texts(&[SUBMISSION, RECORDS]),
        "answers_jsonl" => texts(&[ANSWERS]),
        "pytorch" => FIXTURES.iter().map(|bytes| bytes.to_vec()).collect(),
        "pickle" => FIXTURES.iter().filter_map(|bytes| data_pkl(bytes)).collect(),
        "bundle" => [Encoding::Float(Precision::F32), Encoding::Float(Precision::F16), Encoding::Int8]
            .map(|encoding| {
                written(|path| {
                    bundle::write(&plan(), path, encoding, |_, out| {
                        out.fill(0.5);
                        Ok(())
                    })
                    .expect("room");
                })
            })
            .to_vec(),
        _ => Vec::new(),
    }
}

fn plan() -> Plan {
    Plan::new(&CONFIG, 1, Mode::Inference).expect("a good configuration")
}

fn weights(precision: Precision) -> Vec<u8> {
    let fetch = |_: &Tensor, out: &mut [f32]| {
        out.fill(0.25);
        Ok::<(), Infallible>(())
    };
    written(|path| {
        let Ok(()) = model_dir::write_weights(&plan(), path, precision, fetch).expect("room");
    })
}

/// The pickle in a checkpoint.
fn data_pkl(checkpoint: &[u8]) -> Option<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(checkpoint)).ok()?;
    let name = archive.file_names().flatten().find(|name| name.ends_with("data.pkl"))?.into_owned();
    let mut bytes = Vec::new();
    std::io::copy(&mut archive.by_name(&name).ok()?, &mut bytes).ok()?;
    Some(bytes)
}

/// The bytes that `write` writes to a path.
fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let path = dir.path().join("seed");
    write(&path);
    std::fs::read(&path).expect("a seed")
}
