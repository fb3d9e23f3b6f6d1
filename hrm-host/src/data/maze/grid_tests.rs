//! Tests of [`super`].

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn maze(rows: &[&str]) -> Maze {
    Maze::from_line(&rows.concat()).unwrap()
}

/// Mazes of 2x2 to 6x6, some of them without a way.
fn mazes() -> impl Strategy<Value = Maze> {
    (2usize..7)
        .prop_flat_map(|side| {
            (vec(prop_oneof![3 => Just(FREE), 1 => Just(WALL)], side * side), 0..side * side, 1..side * side)
        })
        .prop_map(|(mut cells, start, further)| {
            let goal = (start + further) % cells.len();
            (cells[start], cells[goal]) = (START, GOAL);
            Maze::new(cells).unwrap()
        })
}

/// All ways from the start of at most `limit` moves that meet no cell twice, as moves in the order of the rule:
/// 0 down, 1 left, 2 right, 3 up.
fn ways(maze: &Maze, limit: usize) -> Vec<(Vec<u8>, Vec<usize>)> {
    let side = maze.side as isize;
    let mut found = Vec::new();
    let mut stack = vec![(Vec::new(), vec![maze.start])];
    while let Some((moves, cells)) = stack.pop() {
        let last = *cells.last().unwrap();
        if last == maze.goal {
            found.push((moves, cells));
            continue;
        }
        if moves.len() == limit {
            continue;
        }
        for (code, (down, right)) in (0..).zip([(1, 0), (0, -1), (0, 1), (-1, 0)]) {
            let (row, column) = (last as isize / side + down, last as isize % side + right);
            if !(0..side).contains(&row) || !(0..side).contains(&column) {
                continue;
            }
            let next = (row * side + column) as usize;
            if maze.cells[next] != WALL && !cells.contains(&next) {
                let mut moves: Vec<u8> = moves.clone();
                moves.push(code);
                stack.push((moves, [&cells[..], &[next]].concat()));
            }
        }
    }
    found
}

fn with_path(maze: &Maze, cells: &[usize]) -> Vec<u8> {
    let mut answer = maze.cells.clone();
    cells[1..cells.len() - 1].iter().for_each(|&cell| answer[cell] = PATH);
    answer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_are_those_of_enumeration(maze in mazes()) {
        let Some(distance) = maze.distance() else {
            prop_assert_eq!(maze.solve(), None);
            return Ok(());
        };
        let ways = ways(&maze, distance as usize + 2);
        let shortest = ways.iter().map(|(moves, _)| moves.len()).min().unwrap();
        prop_assert_eq!(shortest, distance as usize);
        let first = ways.iter().filter(|(moves, _)| moves.len() == shortest).min().unwrap();
        prop_assert_eq!(maze.solve().unwrap(), with_path(&maze, &first.1));
        for (moves, cells) in &ways {
            let solves = maze.is_solved_by(&with_path(&maze, cells));
            prop_assert_eq!(solves, moves.len() == shortest, "{:?}", moves);
        }
    }

    #[test]
    fn any_tokens_are_judged(question in vec(-1..8i32, 0..40), answer in vec(-1..8i32, 0..40)) {
        let _ = is_shortest_path(&question, &answer);
    }

    #[test]
    fn any_line_is_parsed(line in "[# SG]{0,30}|\\PC{0,30}") {
        if let Ok(maze) = Maze::from_line(&line) {
            prop_assert_eq!(maze.cells(), line.as_bytes());
        }
    }
}

#[test]
fn ties_go_down_then_left_then_right_then_up() {
    let cases = [
        (["S  ", "   ", "  G"], "S  o  ooG"),
        (["  S", "   ", "G  "], "  S  oGoo"),
        (["  G", "   ", "S  "], "  G  oSoo"),
        (["G  ", "   ", "  S"], "G  o  ooS"),
    ];
    for (rows, expected) in cases {
        assert_eq!(String::from_utf8(maze(&rows).solve().unwrap()).unwrap(), expected);
    }
}

#[test]
fn an_answer_may_change_nothing_but_the_path() {
    let maze = maze(&["S  ", "## ", "G  "]);
    let tokens = |text: &str| text.bytes().map(|c| i32::from(token(c))).collect::<Vec<i32>>();
    let question = tokens("S  ## G  ");
    for (answer, expected) in [
        ("Soo##oGoo", true),
        ("Soo##oGo ", false),
        ("Soo## Goo", false),
        ("Soo# oGoo", false),
        ("oooo#oGoo", false),
        ("Soo##oooo", false),
        ("Soo##oGo", false),
        ("Soo##oGoo ", false),
        ("S  ## G  ", false),
        ("", false),
    ] {
        assert_eq!(maze.is_solved_by(answer.as_bytes()), expected, "{answer:?}");
        assert_eq!(is_shortest_path(&question, &tokens(answer)), expected, "{answer:?}");
    }
    // Padding, ignored labels and a question that is no maze.
    assert!(!is_shortest_path(&question, &[0; 9]) && !is_shortest_path(&question, &[-100; 9]));
    assert!(!is_shortest_path(&tokens("Soo##oGoo"), &tokens("Soo##oGoo")));
    assert!(!is_shortest_path(&[i32::MIN; 9], &[i32::MAX; 9]));
}

#[test]
fn neighbours_need_no_mark_and_a_walled_goal_has_no_answer() {
    assert_eq!(maze(&["SG", "  "]).solve().unwrap(), b"SG  ");
    assert!(maze(&["SG", "  "]).is_solved_by(b"SG  "));
    let walled = maze(&["S# ", " ##", "  G"]);
    assert_eq!(walled.distance(), Some(4));
    let walled = maze(&["S# ", " ##", " #G"]);
    assert_eq!((walled.distance(), walled.solve()), (None, None));
    assert!(!walled.is_solved_by(walled.cells()));
}

#[test]
fn what_is_no_maze_says_why() {
    let cases = [
        ("S G", "found 3 cells, expected a square of 2 x 2 to 255 x 255 cells"),
        ("", "found 0 cells"),
        ("S", "found 1 cells"),
        ("S xG", "found 'x' at character 3, expected # (or"),
        ("S oG", "found 'o' at character 3"),
        ("Sé G", "found 'é' at character 2"),
        ("S # ", "found 0 of G, expected exactly one"),
        ("SSSG", "found 3 of S, expected exactly one"),
    ];
    for (line, expected) in cases {
        let error = Maze::from_line(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
