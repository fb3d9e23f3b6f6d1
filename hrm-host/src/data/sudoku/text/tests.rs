//! Tests of [`super`].

use super::*;
use crate::data::sudoku::Style;

const LINE: &str = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const ANSWER: &str = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
const SMALL: &str = "1.34.4.22.4..32.";

/// The rows of [`LINE`], each cell as `write` has it.
fn rows(write: impl Fn(char) -> char) -> Vec<String> {
    let cells: Vec<char> = LINE.chars().map(write).collect();
    cells.chunks(9).map(|row| row.iter().collect()).collect()
}

fn questions(text: &str) -> Vec<String> {
    let found = boards(text, Size::Nine).unwrap_or_else(|error| panic!("{error}\n{text}"));
    found.iter().map(|it| it.question.to_string()).collect()
}

#[track_caller]
fn reads(text: &str) {
    assert_eq!(questions(text), [LINE], "{text}");
}

fn joined(rows: &[String], write: impl Fn(&str) -> String) -> String {
    rows.iter().map(|row| write(row) + "\n").collect()
}

fn spread(row: &str, by: &str) -> String {
    row.chars().map(String::from).collect::<Vec<_>>().join(by)
}

#[test]
fn every_blank_is_one() {
    for blank in ['.', '0', '*', '_', '-', 'x', 'X', '?', '·'] {
        let written = |c: char| if c == '.' { blank } else { c };
        reads(&LINE.chars().map(written).collect::<String>());
        reads(&joined(&rows(written), str::to_owned));
        reads(&joined(&rows(written), |row| spread(row, " ")));
        reads(&joined(&rows(written), |row| {
            format!(
                "|{}|{}|{}|",
                &row.chars().take(3).collect::<String>(),
                &row.chars().skip(3).take(3).collect::<String>(),
                &row.chars().skip(6).collect::<String>()
            )
        }));
    }
    let spaced = |c: char| if c == '.' { ' ' } else { c };
    reads(&LINE.chars().map(spaced).collect::<String>());
    reads(&joined(&rows(spaced), str::to_owned));
    reads(&joined(&rows(spaced), |row| row.trim_end().to_owned()));
    reads(&joined(&rows(spaced), |row| format!("|{}|{}|{}|", &row[..3], &row[3..6], &row[6..])));
    reads(&joined(&rows(spaced), |row| format!("{}|{}|{}", &row[..3], &row[3..6], &row[6..])));
    let board = Board::from_line(LINE).unwrap();
    reads(&board.render(|_| Style::PLAIN));
    reads(&board.render(|_| Style::PLAIN).replace('.', " "));
}

#[test]
fn rows_may_be_blank_in_any_form() {
    let empty = format!("{}{}", ".".repeat(27), &LINE[27..]);
    for blank in ['-', '_', '*', '0'] {
        let text: Vec<char> = empty.chars().map(|c| if c == '.' { blank } else { c }).collect();
        let text: String = text.chunks(9).map(|row| row.iter().collect::<String>() + "\n").collect();
        assert_eq!(questions(&text), [empty.as_str()], "{text}");
        assert_eq!(questions(&text.repeat(2)), [empty.clone(), empty.clone()]);
    }
    let text = empty.as_bytes().chunks(9).map(|row| String::from_utf8_lossy(row).replace('.', " "));
    let text: String = text.map(|row| format!("{}\n", row.trim_end())).collect();
    assert_eq!(questions(&text), [empty.as_str()]);
    let tabs =
        empty.as_bytes().chunks(9).map(|row| spread(&String::from_utf8_lossy(row), "\t").replace('.', ""));
    assert_eq!(questions(&tabs.map(|row| row + "\n").collect::<String>()), [empty]);
}

#[test]
fn frames_of_any_kind_are_passed_over() {
    let plain = rows(|c| c);
    let boxed = |row: &String, bar: &str| format!("{}{bar}{}{bar}{}", &row[..3], &row[3..6], &row[6..]);
    for (bar, rule, edge) in [
        ("|", "---+---+---", ""),
        ("|", "-----------", ""),
        ("|", "---------", ""),
        (" | ", "------+-------+------", ""),
        ("|", "|---+---+---|", "*-----------*"),
        (" ", "", ""),
        ("║", "═══╬═══╬═══", "╔═══╦═══╦═══╗"),
        ("|", ":---+---+---:", ".-----------."),
        ("|", "===========", "'-----------'"),
        ("!", "___________", ""),
    ] {
        let mut text = format!("{edge}\n");
        for (index, row) in plain.iter().enumerate() {
            text += &format!("{}\n", boxed(row, bar));
            if index % 3 == 2 {
                text += &format!("{rule}\n");
            }
        }
        text += edge;
        reads(&text);
        assert_eq!(questions(&format!("{text}\n\n{text}")), [LINE, LINE], "{text}");
    }
    let table = joined(&plain, |row| format!("| {} |", spread(row, " | ").replace('.', " ")));
    reads(&table);
}

#[test]
fn separators_json_and_prints_are_read() {
    let zeros = rows(|c| if c == '.' { '0' } else { c });
    for by in [",", ", ", ";", "\t", " "] {
        reads(&joined(&zeros, |row| spread(row, by)));
        reads(&zeros.iter().map(|row| spread(row, by)).collect::<Vec<_>>().join(by));
    }
    reads(&joined(&zeros, |row| spread(row, ",").replace('0', "")));
    reads(&spread(LINE, ",").replace('.', ""));
    let list = |inner: &str| {
        format!(
            "[{}]",
            zeros.iter().map(|row| format!("[{}]", spread(row, inner))).collect::<Vec<_>>().join(",\n ")
        )
    };
    reads(&list(", "));
    reads(&list(" ").replace(",\n", "\n"));
    reads(&list(",").replace('0', "null"));
    reads(&format!("[{}]", spread(&zeros.concat(), ",")));
    reads(&format!("{:?}", zeros));
    reads(&format!("{{\"id\": 7, \"puzzle\": \"{LINE}\", \"solution\": \"{ANSWER}\"}}"));
    reads(&format!("{{\"newboard\": {{\"grids\": [{{\"value\": {}}}]}}}}", list(",")));
    let line = format!("{{\"quiz\": \"{LINE}\", \"difficulty\": 2.5}}\n");
    let found = boards(&line.repeat(3), Size::Nine).unwrap();
    assert_eq!((found.len(), found[2].line, found[2].rating), (3, 3, Some(2.5)));
}

#[test]
fn files_of_other_programs_are_read() {
    let plain = joined(&rows(|c| c), str::to_owned);
    reads(&format!("\u{feff}#ASomeone\r\n#D30-11-2026\r\n{}", plain.replace('\n', "\r\n")));
    reads(&format!(
        "[Puzzle]\n{plain}[State]\n{}",
        joined(&rows(|c| if c == '.' { '1' } else { c }), str::to_owned)
    ));
    reads(&format!("{LINE} 8.9"));
    reads(&format!("00000000001a {LINE}  0.0"));
    reads(&format!("{LINE} # a hard one"));
    reads(&format!("<game data=\"{LINE}\" />"));
    let found = boards(&format!("Grid 01\n{plain}Grid 02\n{plain}"), Size::Nine).unwrap();
    assert_eq!((found.len(), found[1].line, found[1].name.as_deref()), (2, 12, Some("Grid 02")));
    let marks = LINE.chars().map(|c| if c == '.' { "1289".to_owned() } else { c.to_string() });
    let marks: Vec<String> = marks.collect();
    let marks: String = marks.chunks(9).map(|row| format!("| {} |\n", row.join(" "))).collect();
    reads(&format!("*-----*\n{marks}*-----*"));
}

#[test]
fn an_answer_beside_the_puzzle_is_told_apart() {
    for text in
        [format!("{LINE},{ANSWER}"), format!("{ANSWER};{LINE};7"), format!("a \"{LINE}\" \"{ANSWER}\" 7")]
    {
        let [found] = &boards(&text, Size::Nine).unwrap()[..] else { panic!("{text}") };
        assert_eq!(found.question.to_string(), LINE);
        assert_eq!(found.answer.unwrap().to_string(), ANSWER);
        assert_eq!(found.rating, text.ends_with('7').then_some(7.0));
    }
    let wrong = format!("{LINE},{}", ANSWER.replace('5', "4"));
    assert!(boards(&wrong, Size::Nine).unwrap_err().to_string().contains("does not answer"));
    assert!(boards(&format!("{LINE},{LINE}"), Size::Nine).unwrap_err().to_string().contains("2 puzzles"));
}

#[test]
fn small_boards_are_found_whatever_was_expected() {
    for text in [
        SMALL,
        "1 . | 3 4\n. 4 | . 2\n----+----\n2 . | 4 .\n. 3 | 2 .",
        "[[1,0,3,4],[0,4,0,2],[2,0,4,0],[0,3,2,0]]",
        "1.34\n.4.2\n2.4.\n.32.",
        "1 34\n 4 2\n2 4\n 32",
    ] {
        for size in Size::ALL {
            assert_eq!(boards(text, size).unwrap()[0].question.to_string(), SMALL, "{text}");
        }
    }
    assert_eq!(boards(LINE, Size::Four).unwrap()[0].question.to_string(), LINE);
}

#[test]
fn what_is_no_board_is_said_with_its_place() {
    let plain = rows(|c| c);
    let with = |place: usize, row: &str| {
        let mut rows = plain.clone();
        rows[place] = row.to_owned();
        joined(&rows, str::to_owned)
    };
    for (text, expected) in [
        (String::new(), "puzzle: found nothing, expected 81 cells (9x9) or 16 (4x4)"),
        ("a title".to_owned(), "found no cells"),
        (LINE[1..].to_owned(), "puzzle: found 80 cells, expected 81 cells in the line, or 9 in a row"),
        (LINE.replacen('7', "y", 1), "found 'y' at character 5, expected 1 to 9"),
        (with(2, "53..7..."), "line 3: found 8 cells"),
        (with(2, "53..7...a"), "line 3: found 'a' at character 9"),
        (with(2, "53..7....1"), "line 3: found 10 cells"),
        (with(8, ""), "line 1: found 8 rows to line 8, expected 9 rows of 9 cells"),
        (with(8, "123\n45"), "line 9: found 3 cells"),
        (format!("{LINE}\nPuzzle 2: {}", &LINE[1..]), "line 2: found "),
        ("[[1, 2], [3, 4]]".to_owned(), "a list of 2 values"),
        ("{\"puzzle\": \"12\"}".to_owned(), "found 2 cells"),
        ("{\"a\": 1}".to_owned(), "JSON without a board"),
        ("{\"a\"".to_owned(), "no JSON"),
        (
            ".".repeat(256),
            "found 256 cells, a 16x16 Sudoku, expected 81 cells (9x9) or 16 (4x4): no other sizes",
        ),
        ("1.....\n".repeat(6), "a 6x6 Sudoku"),
        ("A...B...C...D...\n".repeat(16), "a 16x16 Sudoku"),
    ] {
        let error = boards(&text, Size::Nine).expect_err(&text).to_string();
        assert!(error.contains(expected), "{error}\n{expected}\n{text}");
    }
}

#[test]
fn lists_are_read_line_by_line() {
    let line = |text: &str| list_line(text).map(|found| found.map(|it| (it.question.to_string(), it.rating)));
    assert_eq!(line(&format!("mine,{LINE},{ANSWER},3")), Ok(Some((LINE.to_owned(), Some(3.0)))));
    assert_eq!(line(&format!("{LINE} 25 2.5")), Ok(Some((LINE.to_owned(), None))));
    assert_eq!(line(SMALL), Ok(Some((SMALL.to_owned(), None))));
    for text in ["", "# words", "Top 1465 list", "[Puzzle]"] {
        assert_eq!(line(text), Ok(None), "{text}");
    }
    for text in ["53..7....", &LINE[2..], &format!("name {}", &LINE[1..])] {
        assert!(line(text).is_err(), "{text}");
    }
}

#[test]
fn lists_in_code_are_read_without_the_code() {
    let zeros = rows(|c| if c == '.' { '0' } else { c });
    let list: Vec<String> = zeros.iter().map(|row| format!("[{}]", spread(row, ", "))).collect();
    let list = list.join(",\n       ");
    for (before, after) in [
        ("array([", "])"),
        ("np.array([", "], dtype=np.uint8)"),
        ("tensor([", "], device='cuda:0', dtype=torch.int8)"),
        ("grid = [", "]"),
        ("grid = [\n", "\n]"),
        ("let board = [", "];"),
        ("int board[9][9] = {\n", "\n};"),
        ("```python\ngrid = [", "]\n```"),
        ("~~~\n", "\n~~~"),
    ] {
        reads(&format!("{before}{list}{after}\n"));
        reads(&format!("{before}{}{after}", list.replace('\n', "")));
    }
    let columns = |text: &str| text.replace(", ", " ").replace("],", "]");
    reads(&columns(&format!("[{list}]")));
    let refused = boards("array([[5, 3, 0, 0, 7], dtype=uint8)", Size::Nine).unwrap_err();
    assert!(refused.found.contains("5 cells"), "{refused}");
}
