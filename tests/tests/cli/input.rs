//! Bad input: each is refused with exit code 2, by a message that names the file, the place in it and what was expected,
//! and nothing is written.

use std::fs;

use crate::support::{Place, TINY, tiny, without_metadata};

const HEADER: &str = "source,question,answer,rating\n";
const ANSWER: &str = "1234341221434321";

fn csv_is_refused(csv: &str, words: &[&str]) {
    let place = Place::empty();
    place.write("puzzles.csv", csv);
    let words = [&["error:", "puzzles.csv", "expected"], words].concat();
    place.hrm("data sudoku --csv puzzles.csv --out data --split train").expect(2, &words);
    assert!(place.is_free("data"), "{csv}");
}

#[test]
fn bad_puzzle_files() {
    let good = format!("a,1.34341221434321,{ANSWER},0\n");
    let rows = |bad: &str| format!("{HEADER}{good}{bad}\n");
    let place = Place::empty();
    place.write("good.csv", rows("").trim_end());
    place.hrm("data sudoku --csv good.csv --out data --split train").expect(0, &[]);

    csv_is_refused(&rows(&format!("a,1.3434122143432,{ANSWER},0")), &["line 3", "question"]);
    csv_is_refused(&rows(&format!("a,1.34341221434321,{ANSWER}1,0")), &["line 3", "answer"]);
    csv_is_refused(&rows(&format!("a,{},{},0", "1".repeat(81), "1".repeat(81))), &["line 3", "81"]);
    csv_is_refused(&rows(&format!("a,1y34341221434321,{ANSWER},0")), &["line 3", "question", "y"]);
    csv_is_refused(&rows(&format!("a,9.34341221434321,{ANSWER},0")), &["line 3", "question"]);
    csv_is_refused(&rows("a,1.34341221434321,1.34341221434321,0"), &["line 3", "answer", "blank"]);
    // A rating in words is none: it is only for the table of an evaluation.
    place.write("words.csv", rows(&format!("a,1.34341221434321,{ANSWER},hard")));
    let told = place.hrm("data sudoku --csv words.csv --out words --split train").expect(0, &[]);
    assert!(told.out.contains("no rating for 1 puzzle"), "{}", told.out);
    csv_is_refused(&rows(&format!("a,1.34341221434321,{ANSWER}")), &["line 3", "fields"]);
    csv_is_refused(&rows("a,\u{e9}.34341221434321,1,0"), &["line 3", "question"]);
    // Every answer cell stands as given, and the first row has 1 twice.
    csv_is_refused(
        &rows("a,11..............,1134341221434321,0"),
        &["line 3", "question", "no solution", "one"],
    );
    csv_is_refused(
        &rows(&format!("a,................,{ANSWER},0")),
        &["line 3", "question", "several solutions"],
    );
    csv_is_refused(&rows("a,1.34341221434321,1234341221434312,0"), &["line 3", "answer"]);
    csv_is_refused("source,board game,answer,rating\n", &["line 1", "header", "question"]);
    csv_is_refused(HEADER, &["rows", "at least one"]);
    csv_is_refused("", &["line 1", "header"]);
    csv_is_refused("\0\u{1}\u{2}", &["line 1", "header"]);
}

#[test]
fn a_missing_puzzle_file() {
    let place = Place::empty();
    place.hrm("data sudoku --csv none.csv --out data --split train").expect(2, &["none.csv"]);
    place.hrm("data sudoku --csv . --out data --split train").expect(2, &["error:"]);
    place
        .hrm("data sudoku --generate 1000000 --size 4 --clues 16 --out data --split train")
        .expect(2, &["1000000"]);
    place.hrm("data sudoku --generate 5 --size 5 --out data --split train").expect(2, &["--size"]);
}

/// Damages a dataset, and asserts that training on it is refused before anything is written.
fn dataset_is_refused(damage: impl FnOnce(&Place), words: &[&str]) {
    let place = Place::with_data();
    damage(&place);
    place.train("run", "").expect(2, &[&["error:"], words].concat());
    assert!(place.is_free("run"), "{words:?}: something was written");
}

/// Sets the last bytes of an array.
fn set_last(place: &Place, name: &str, last: &[u8]) {
    let mut bytes = place.read(name);
    let at = bytes.len() - last.len();
    bytes[at..].copy_from_slice(last);
    place.write(name, bytes);
}

fn replace(place: &Place, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(place.read(name)).unwrap();
    assert!(text.contains(from), "{text}");
    place.write(name, text.replace(from, to));
}

#[test]
fn bad_datasets() {
    let identifiers = "data/train/all__puzzle_identifiers.npy";
    let five = |place: &Place| set_last(place, identifiers, &5i32.to_le_bytes());
    dataset_is_refused(
        five,
        &["all__puzzle_identifiers.npy", "row 59", "found 5", "below num_puzzle_identifiers"],
    );
    let negative = |place: &Place| set_last(place, identifiers, &(-1i32).to_le_bytes());
    dataset_is_refused(negative, &["all__puzzle_identifiers.npy", "row 59", "found -1"]);
    for split in ["train", "test"] {
        for array in ["inputs", "labels"] {
            let name = format!("{split}/all__{array}.npy");
            let token = |place: &Place| set_last(place, &format!("data/{name}"), &[9]);
            let words = [&name, array, "column 15", "token 9", "expected 0 to 5", "vocab_size"];
            dataset_is_refused(token, &words);
        }
    }
    let cut = |place: &Place| {
        let bytes = place.read("data/train/all__inputs.npy");
        place.write("data/train/all__inputs.npy", &bytes[..bytes.len() - 1]);
    };
    dataset_is_refused(cut, &["all__inputs.npy"]);
    let gone = |place: &Place| fs::remove_file(place.path("data/train/all__labels.npy")).unwrap();
    dataset_is_refused(gone, &["all__labels.npy"]);
    let key = |place: &Place| replace(place, "data/train/dataset.json", "\"vocab_size\":6,", "");
    dataset_is_refused(key, &["dataset.json", "vocab_size"]);
    let wide = |place: &Place| replace(place, "data/train/dataset.json", "\"seq_len\":16", "\"seq_len\":17");
    dataset_is_refused(wide, &["all__inputs.npy", "[60, 17]"]);
    let absurd =
        |place: &Place| replace(place, "data/train/dataset.json", ":1,\"total", ":99999999999,\"total");
    dataset_is_refused(absurd, &["dataset.json", "num_puzzle_identifiers", "expected"]);
    let text = |place: &Place| place.write("data/train/dataset.json", "{\"pad_id\": 0,\n oh");
    dataset_is_refused(text, &["dataset.json", "line 2"]);
    let split = |place: &Place| fs::remove_dir_all(place.path("data/train")).unwrap();
    dataset_is_refused(split, &["data, splits: found only test, expected train"]);
    let both = |place: &Place| {
        split(place);
        fs::remove_dir_all(place.path("data/test")).unwrap();
    };
    dataset_is_refused(both, &["data, splits: found neither train nor test, expected train"]);
    let file = |place: &Place| {
        fs::remove_dir_all(place.path("data")).unwrap();
        place.write("data", "");
    };
    dataset_is_refused(file, &["data: cannot open the dataset"]);
}

#[test]
fn held_out_puzzles_of_another_kind() {
    let other_size = |place: &Place| {
        fs::remove_dir_all(place.path("data/test")).unwrap();
        place.hrm("data sudoku --generate 3 --size 9 --clues 40 --out nine --split test").expect(0, &[]);
        fs::rename(place.path("nine/test"), place.path("data/test")).unwrap();
    };
    dataset_is_refused(other_size, &["data/test", "seq_len is 81", "16"]);
    let more_ids = |place: &Place| {
        replace(
            place,
            "data/test/dataset.json",
            "\"num_puzzle_identifiers\":1",
            "\"num_puzzle_identifiers\":9",
        );
        fs::remove_file(place.path("data/identifiers.json")).unwrap();
    };
    dataset_is_refused(more_ids, &["data/test", "num_puzzle_identifiers is 9", "1 rows"]);
}

#[test]
fn bad_settings_on_the_command_line() {
    let place = Place::with_data();
    for (set, words) in [
        ("learning_rate=1", &["learning_rate", "no such setting"][..]),
        ("arch.hiden_size=16", &["arch.hiden_size", "did you mean `hidden_size`?"]),
        ("arch.hidden_size=0", &["hidden_size", "expected 1 to 65536"]),
        ("arch.hidden_size=-4", &["arch.hidden_size", "-4"]),
        ("arch.hidden_size=many", &["arch.hidden_size", "many"]),
        ("arch.hidden_size=99999999999999", &["hidden_size", "expected"]),
        ("arch.hidden_size=65536", &["hint:"]),
        ("arch.num_heads=3", &["arch.num_heads is 3", "divisor of hidden_size; hidden_size is 16"]),
        ("arch.num_heads=0", &["num_heads", "expected"]),
        ("arch.H_layers=0", &["H_layers", "expected 1 to 1024"]),
        ("arch.L_cycles=100000", &["L_cycles", "expected 1 to 1024"]),
        ("arch.expansion=nan", &["expansion", "expected"]),
        ("arch.expansion=1e300", &["expansion", "expected"]),
        ("arch.rope_theta=-inf", &["rope_theta", "expected"]),
        ("arch.rms_norm_eps=0.0", &["rms_norm_eps", "expected"]),
        ("arch.halt_max_steps=0", &["halt_max_steps", "expected"]),
        ("arch.halt_exploration_prob=1.5", &["halt_exploration_prob", "expected"]),
        ("arch.puzzle_emb_ndim=99999999", &["puzzle_emb_ndim", "expected"]),
        ("arch.loss=mse", &["arch.loss", "mse", "stablemax_cross_entropy"]),
        ("arch.forward_dtype=int4", &["arch.forward_dtype", "int4", "bfloat16"]),
        ("arch.pos_encodings=alibi", &["arch.pos_encodings", "alibi"]),
        ("arch=small", &["arch", "small"]),
        ("global_batch_size=0", &["global_batch_size", "expected 1 to 2^24"]),
        ("global_batch_size=16777216", &["hint:", "global_batch_size"]),
        ("lr=abc", &["lr: given \"abc\", expected a number", "--set lr=abc"]),
        ("lr=0.0", &["lr is 0", "positive"]),
        ("lr=nan", &["lr is NaN", "positive"]),
        ("lr_min_ratio=2", &["lr_min_ratio"]),
        ("weight_decay=-1.0", &["weight_decay", "expected"]),
        ("beta1=1.0", &["beta1", "expected"]),
        ("checkpoint_interval=0", &["checkpoint_interval", "at least 1"]),
        ("log_interval=0", &["log_interval", "at least 1"]),
        ("augment=mirror", &["augment", "mirror", "sudoku"]),
        ("seed=-1", &["seed", "-1"]),
        ("seed", &["KEY=VALUE"]),
    ] {
        let words = [&["error:"], words].concat();
        place.train("run", &format!("--set {set}")).expect(2, &words);
        assert!(place.is_free("run"), "{set}: something was written");
    }
    let epochs = format!("train {TINY} --set steps=0 --set epochs=0 --out run");
    place.hrm(&epochs).expect(2, &["steps is 0", "epochs"]);
    let short = format!("train {TINY} --set steps=0 --set epochs=1 --set global_batch_size=64 --out run");
    place.hrm(&short).expect(2, &["epochs is 1", "one step"]);
    place.hrm("train --preset tiny --data data --out run").expect(2, &["tiny", "sudoku-mini"]);
    place.hrm("train --preset sudoku-mni --data data --out run").expect(2, &["did you mean `sudoku-mini`?"]);
    place.hrm("train --data data --out run").expect(2, &["--preset"]);
    assert!(place.is_free("run"));
}

#[test]
fn bad_settings_in_a_file() {
    let place = Place::with_run();
    let good = String::from_utf8(place.read("run/settings.toml")).unwrap();
    let line = "train --config my.toml --data data --out again";
    let without = |field: &str| -> String {
        good.lines().filter(|line| !line.starts_with(field)).map(|line| format!("{line}\n")).collect()
    };
    for (text, words) in [
        (without("lr ="), &["lr", "missing"][..]),
        (without("num_heads"), &["arch.num_heads", "missing"]),
        (format!("colour = 1\n{good}"), &["colour", "no such setting", "my.toml"]),
        (good.replace("num_heads = 2", "num_heads = \"two\""), &["arch.num_heads", "two", "my.toml"]),
        (good.replace("hidden_size = 16", "hidden_size = 1000000"), &["hidden_size", "1 to 65536"]),
        (format!("{good}\n[arch"), &["my.toml", "not TOML"]),
        (format!("lr = 1\n{good}"), &["my.toml", "lr"]),
    ] {
        place.write("my.toml", text);
        place.hrm(line).expect(2, &[&["error:"], words].concat());
        assert!(place.is_free("again"), "{words:?}: something was written");
    }
    place.write("my.toml", b"lr = \xff");
    place.hrm(line).expect(2, &["my.toml", "UTF-8"]);
    fs::remove_file(place.path("my.toml")).unwrap();
    place.hrm(line).expect(2, &["my.toml"]);
    place.write("my.toml", good);
    place.hrm(line).expect(0, &["done after 40 steps"]);
}

#[test]
fn bad_configurations_of_a_model() {
    let place = Place::with_run();
    let (name, eval) = ("run/best/config.json", "eval --model run/best --data data");
    let good = String::from_utf8(place.read(name)).unwrap();
    for (from, to, words) in [
        ("\"num_heads\": 2", "\"num_heads\": 4", &["num_heads is 4, expected 2", "model.safetensors"][..]),
        ("\"num_heads\": 2", "\"num_heads\": 0", &["num_heads", "expected"]),
        ("\"num_heads\": 2", "\"num_head\": 2", &["num_head", "unknown field"]),
        ("\"num_heads\": 2,", "", &["num_heads", "missing"]),
        ("\"num_heads\": 2", "\"num_heads\": -2", &["expected", "-2"]),
        ("\"hidden_size\": 16", "\"hidden_size\": 65536", &["hidden_size"]),
        ("\"seq_len\": 16", "\"seq_len\": 1e99", &["expected"]),
        ("{", "[", &["JSON"]),
    ] {
        assert!(good.contains(from), "{good}");
        place.write(name, good.replacen(from, to, 1));
        for line in [eval, "solve --model run/best 1234341221434321", "info run/best"] {
            place.hrm(line).expect(2, &[&["error:"], words].concat());
        }
    }
    let weights = "run/best/model.safetensors";
    let ours = place.read(weights);
    place.write(weights, without_metadata(&ours));
    for (to, words) in [("\"hidden_size\": 65536", "free"), ("\"hidden_size\": 32", "shape")] {
        place.write(name, good.replacen("\"hidden_size\": 16", to, 1));
        place.hrm(eval).expect(2, &["error:", "run/best", words]);
    }
    place.write(weights, ours);
    // Reformatting it changes nothing, and the published program's further keys are passed over.
    place.write(name, good.replace('\n', " ").replacen('{', "{\"causal\": false, ", 1));
    place.hrm(eval).expect(0, &[]);
}

#[test]
fn a_run_is_not_overwritten_and_not_mixed_with_another() {
    let place = Place::with_run();
    let before = place.files("run");
    place.train("run", "").expect(2, &["run exists and is not empty", "--resume"]);
    place.hrm("train --resume --data data --out run --seed 5").expect(2, &["--seed"]);
    place.hrm(&tiny("run", "--resume --set lr=0.5")).expect(2, &["other settings"]);
    place
        .hrm("train --resume --data data --out run --backend reference --steps 50")
        .expect(2, &["backend cpu"]);
    place
        .hrm("train --resume --data data --out run --steps 30")
        .expect(2, &["--steps 30", "has done 40 steps"]);
    place.hrm("train --resume --data data --out none").expect(2, &["none", "nothing to resume"]);
    place.hrm("data sudoku --generate 30 --size 4 --out other --split train --seed 9").expect(0, &[]);
    place
        .hrm("train --resume --data other --out run --steps 50")
        .expect(2, &["training data", "other/train"]);
    assert!(place.files("run") == before, "the run was changed");
    place.write("file", "");
    place.train("file", "").expect(2, &["file"]);
    place.train("file/run", "").expect(2, &["file/run"]);
    assert!(place.is_free("none"));
}

/// The settings beside a run say what it does now.
#[test]
fn the_settings_of_a_run_that_is_made_longer_have_its_steps() {
    let place = Place::with_run();
    let settings = |run: &str| String::from_utf8(place.read(&format!("{run}/settings.toml"))).unwrap();
    let before = settings("run");
    assert!(before.contains("\nsteps = 40\n"), "{before}");
    place.hrm("train --resume --data data --out run").expect(0, &[]);
    assert_eq!(settings("run"), before);
    place.hrm("train --resume --data data --out run --steps 50").expect(0, &["done after 50 steps"]);
    assert_eq!(settings("run"), before.replace("\nsteps = 40\n", "\nsteps = 50\n"));
}
