//! Tests of [`super`].

use super::*;
use crate::data::test_support::shared;

const QUESTION: &str = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const ANSWER: &str = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";

/// All puzzles of a file, at most `limit`.
fn read(path: &Path, limit: usize) -> Result<Vec<(Puzzle, Option<f64>)>> {
    let mut reader = PuzzleReader::open(path, KIND)?;
    let mut puzzles = Vec::new();
    while puzzles.len() < limit
        && let Some(row) = reader.next_row()?
    {
        let checked = check(path, &row, None)?;
        puzzles.push((*checked.puzzle().unwrap_or_else(|| panic!("{checked:?}")), row.rating));
    }
    Ok(puzzles)
}

fn read_text(text: &str) -> Result<Vec<(Puzzle, Option<f64>)>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("puzzles.csv");
    std::fs::write(&path, text).unwrap();
    read(&path, usize::MAX)
}

#[test]
fn columns_are_found_by_name() {
    let puzzle =
        Puzzle { question: Board::from_line(QUESTION).unwrap(), answer: Board::from_line(ANSWER).unwrap() };
    let usual = format!("source,question,answer,rating\na,{QUESTION},{ANSWER},12\n");
    assert_eq!(read_text(&usual).unwrap(), [(puzzle, Some(12.0))]);
    let other = format!("\u{feff}answer,question\r\n{ANSWER},\"{QUESTION}\"\r\n{ANSWER},{QUESTION}");
    assert_eq!(read_text(&other).unwrap(), [(puzzle, None), (puzzle, None)]);
    assert_eq!(read_text("question,answer\n").unwrap(), []);
}

#[test]
fn bad_rows_name_line_field_and_expectation() {
    let row = |question: &str, answer: &str, rating: &str| {
        format!("source,question,answer,rating\na,{QUESTION},{ANSWER},1\na,{question},{answer},{rating}\n")
    };
    let wrong = |text: &str, at: usize, with: &str| format!("{}{with}{}", &text[..at], &text[at + 1..]);
    let four = "..34341...432143";
    let cases = [
        (String::new(), "line 1, header: found an empty line, expected a header with the column question"),
        (
            "a, rating\n".to_owned(),
            "line 1, header: found \"a, rating\", expected a header with the column question",
        ),
        (row(&QUESTION[1..], ANSWER, "1"), "line 3, question: found 80 cells, expected 81 cells"),
        (row(QUESTION, &ANSWER[1..], "1"), "line 3, answer: found 80 cells"),
        (row(" # S   G ", ANSWER, "1"), "line 3, question: found no cells, expected 81 cells"),
        (row(&format!(" {}", &QUESTION[1..]), ANSWER, "1"), "line 3, question: found 80 cells"),
        (row(QUESTION, four, "1"), "line 3, answer: found 16 cells, expected 81 cells"),
        (row(&wrong(QUESTION, 2, "y"), ANSWER, "1"), "line 3, question: found 'y' at character 3"),
        (row(QUESTION, &wrong(ANSWER, 80, "é"), "1"), "line 3, answer: found 'é' at character 81"),
        (row(QUESTION, ANSWER, "1,2"), "line 3, fields: found 5, expected 4"),
        (row(QUESTION, &wrong(ANSWER, 2, "."), "1"), "line 3, answer: found a blank at row 1, column 3"),
        (
            row(QUESTION, &wrong(ANSWER, 9, "7"), "1"),
            "line 3, answer: found 7 at row 2, column 1, expected 6, as given",
        ),
        (row(QUESTION, &wrong(ANSWER, 2, "1"), "1"), "expected 4, as in the only solution"),
        (row(&wrong(QUESTION, 2, "5"), &wrong(ANSWER, 2, "5"), "1"), "line 3, question: found no solution"),
        (row(&QUESTION.replace(['1', '2'], "."), ANSWER, "1"), "line 3, question: found several solutions"),
    ];
    for (text, expected) in cases {
        let error = read_text(&text).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.contains("puzzles.csv"), "{error}\n{expected}");
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("puzzles.csv");
    let mut bytes = format!("question,answer\n{QUESTION},{ANSWER}\n").into_bytes();
    bytes[20] = 0xff;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(read(&path, 1), Err(Error::Format { place: Place::Line(2), .. })));
    assert!(matches!(read(&dir.path().join("none.csv"), 1), Err(Error::Io { .. })));
}

#[test]
fn real_files_are_read() {
    let Some(dir) = shared("data/sudoku") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let puzzles = read(&path, 200).unwrap();
            assert_eq!(puzzles.len(), 200, "{}", path.display());
            assert!(puzzles.iter().all(|(puzzle, rating)| puzzle.question.clues() >= 17 && rating.is_some()));
            files += 1;
        }
    }
    assert!(files >= 1);
}

#[test]
fn answers_that_are_missing_are_found() {
    let row = |question: &str| Row { line: 1, question: question.to_owned(), answer: None, rating: None };
    let check = |question: &str| check(Path::new("a.csv"), &row(question), None).unwrap();
    assert_eq!(check(QUESTION).puzzle().unwrap().answer.to_string(), ANSWER);
    assert!(matches!(check(QUESTION), Checked::Found(_)));
    assert_eq!(check(&QUESTION.replace(['1', '2'], ".")), Checked::Several);
    assert_eq!(check(&QUESTION.replacen("53..", "535.", 1)), Checked::Unsolvable);
}
