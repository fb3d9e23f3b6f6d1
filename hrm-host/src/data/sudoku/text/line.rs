//! What one line of a text is.

use super::super::grid::{Board, Size};
use super::TextError;

/// The cells of a row; those beyond its size are 0.
pub(super) type Row = [u8; 9];

/// Boards in a line, and the only number beside them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Whole {
    pub boards: Vec<Board>,
    pub rating: Option<f64>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    /// Nothing: a gap, or a row of spaces that an editor took away.
    Empty,
    /// `# ...`
    Comment,
    /// Words.
    Title(String),
    /// `[Words]`
    Section(String),
    /// Whole boards.
    Boards(Whole),
    /// A row.
    Row(Row),
    /// A part of a frame.
    Rule,
    /// A blank row, or a part of a frame: which of them, the other rows say.
    Either,
    /// A row with spaces for blanks, perhaps without those at its end. `sure` where one stands before a digit.
    Gaps { row: Row, sure: bool },
    /// None of these.
    Odd(TextError),
}

/// The digit of a cell's character, 0 for a blank.
pub(super) fn cell(c: char, size: Size) -> Option<u8> {
    match c {
        '.' | '*' | '_' | 'x' | 'X' | '?' | '·' | '•' | '□' => Some(0),
        _ => c.to_digit(10).filter(|&digit| digit as usize <= size.side()).map(|digit| digit as u8),
    }
}

/// Whether it separates cells: it may stand between any two of them.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            ',' | ';'
                | '|'
                | '"'
                | '\''
                | '['
                | ']'
                | '('
                | ')'
                | '{'
                | '}'
                | ':'
                | '='
                | '<'
                | '>'
                | '/'
                | '\\'
                | '+'
                | '!'
        )
        || ('\u{2500}'..='\u{257f}').contains(&c)
}

/// A bar of a frame between cells.
fn is_bar(c: char) -> bool {
    matches!(c, '|' | '│' | '┃' | '║' | '!')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '–' | '—' | '−')
}

impl Line {
    /// What `text` is where boards are of `size`.
    pub fn of(text: &str, size: Size) -> Self {
        let side = size.side();
        let trimmed = text.trim();
        if trimmed.is_empty() {
            let cells = text.matches('\t').count() + 1;
            return if cells == side { Self::Row(Row::default()) } else { Self::Empty };
        }
        if ["#", "//", "%", "```", "~~~"].iter().any(|mark| trimmed.starts_with(mark)) {
            return Self::Comment;
        }
        if let Some(list) = list_in_code(trimmed) {
            return Self::of(list, size);
        }
        if let Some(found) = whole(text, size) {
            return Self::Boards(found);
        }
        if let Some(line) = cells(trimmed, size) {
            return line;
        }
        if is_rule(trimmed) {
            return Self::Rule;
        }
        if let Some(row) = pencil_marks(trimmed, size).or_else(|| Some(padded(&fields(text, side, size)?))) {
            return Self::Row(row);
        }
        if let Some(row) = barred(text, size) {
            return Self::Row(row);
        }
        if let Some(gaps) = gaps(text, size) {
            return gaps;
        }
        // `]`, `};`: the end of a list.
        if trimmed.chars().all(separates) {
            return Self::Rule;
        }
        if has_word(trimmed) && !has_board(trimmed, side) {
            let inner = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            return match inner {
                Some(name) => Self::Section(name.trim().to_lowercase()),
                None => Self::Title(trimmed.chars().take(60).collect()),
            };
        }
        Self::Odd(odd(trimmed, size))
    }
}

/// The list in a line of code, `array([[5, 3, 0],` or `[0, 7, 9]], dtype=uint8)` for example, without what is around it:
/// the digits of a type's name are no cells. `None` where nothing is.
fn list_in_code(trimmed: &str) -> Option<&str> {
    let (start, end) = (trimmed.find('[')?, trimmed.rfind(']')? + 1);
    let list = trimmed.get(start..end)?;
    let (before, after) = (trimmed[..start].trim_end(), trimmed[end..].trim_start());
    let opens = before.is_empty() || before.ends_with(['(', '=']);
    let closes = after.trim_matches([',', ';', ')']).is_empty()
        || after.starts_with([',', ')']) && after.contains('=');
    (opens && closes && list.len() < trimmed.len()).then_some(list)
}

/// Boards that are written in one piece each, or one that fills the line.
fn whole(text: &str, size: Size) -> Option<Whole> {
    let line = text.trim_end_matches(['\n', '\r']);
    // A token's dashes are blanks: within one there is no frame.
    let token = |token: &str| -> Option<Board> {
        let cells = || token.chars().map(|c| if is_dash(c) { Some(0) } else { cell(c, size) });
        if cells().count() != size.cells() {
            return None;
        }
        board(size, cells().collect::<Option<Vec<u8>>>()?)
    };
    let (mut boards, mut numbers) = (Vec::new(), Vec::new());
    for piece in line.split(separates).filter(|piece| !piece.is_empty()) {
        match token(piece) {
            Some(board) => boards.push(board),
            // What stands before the board is a name or a number of it.
            None if !boards.is_empty() => numbers.extend(piece.parse::<f64>().ok()),
            None => {}
        }
    }
    if !boards.is_empty() {
        let rating = if let [only] = numbers[..] { Some(only).filter(|it| it.is_finite()) } else { None };
        return Some(Whole { boards, rating });
    }
    let spaced = line.chars().count() == size.cells() && line.contains(' ');
    let all = if spaced && line.chars().all(|c| c == ' ' || c.is_ascii_digit()) {
        line.chars().map(|c| if c == ' ' { Some(0) } else { cell(c, size) }).collect::<Option<Vec<u8>>>()
    } else {
        let plain = line.chars().filter(|&c| !separates(c) && !is_dash(c));
        let plain = plain.map(|c| cell(c, size)).collect::<Option<Vec<u8>>>();
        plain.filter(|cells| cells.len() == size.cells()).or_else(|| fields(line, size.cells(), size))
    };
    Some(Whole { boards: vec![board(size, all?)?], rating: None })
}

fn board(size: Size, cells: Vec<u8>) -> Option<Board> {
    Board::from_digits(size, &cells)
}

/// A row of as many cells as there are columns, whatever frames and separators are around them.
fn cells(trimmed: &str, size: Size) -> Option<Line> {
    let side = size.side();
    let read = |dashes: bool| -> Option<Vec<u8>> {
        let kept = trimmed.chars().filter(|&c| !separates(c) && (dashes || !is_dash(c)));
        kept.map(|c| if is_dash(c) { Some(0) } else { cell(c, size) }).collect()
    };
    let row = |cells: Vec<u8>| -> Option<Row> { (cells.len() == side).then(|| padded(&cells)) };
    let framed = trimmed.contains(['+', '=']);
    let of_one_kind = |cells: &Row| {
        let mut kept = trimmed.chars().filter(|&c| !separates(c));
        let first = kept.next();
        cells.iter().all(|&cell| cell == 0)
            && first.is_some_and(|first| is_dash(first) || matches!(first, '_' | '*'))
            && kept.all(|c| Some(c) == first)
    };
    let found = read(false).and_then(row).or_else(|| read(true).filter(|_| !framed).and_then(row))?;
    Some(if of_one_kind(&found) { Line::Either } else { Line::Row(found) })
}

fn padded(cells: &[u8]) -> Row {
    let mut row = Row::default();
    for (to, from) in row.iter_mut().zip(cells) {
        *to = *from;
    }
    row
}

/// A part of a frame: no digit, and a line drawn somewhere.
fn is_rule(trimmed: &str) -> bool {
    let drawn =
        |c: char| is_dash(c) || matches!(c, '_' | '=' | '~') || ('\u{2500}'..='\u{257f}').contains(&c);
    let frame = |c: char| drawn(c) || separates(c) || matches!(c, '*' | '.' | '`');
    trimmed.chars().all(frame)
        && (trimmed.chars().filter(|&c| drawn(c)).count() >= 3 || trimmed.chars().all(is_bar))
}

/// Rows of candidates: a cell of one digit holds it, any other is blank.
fn pencil_marks(trimmed: &str, size: Size) -> Option<Row> {
    let tokens: Vec<&str> = trimmed.split(separates).filter(|token| !token.is_empty()).collect();
    let ascending = |token: &str| {
        token.bytes().all(|b| b.is_ascii_digit() && b != b'0' && usize::from(b - b'0') <= size.side())
            && token.as_bytes().windows(2).all(|pair| pair[0] < pair[1])
    };
    if tokens.len() != size.side() || !tokens.iter().all(|token| ascending(token)) {
        return None;
    }
    let digit = |token: &&str| if token.len() == 1 { token.as_bytes()[0] - b'0' } else { 0 };
    Some(padded(&tokens.iter().map(digit).collect::<Vec<u8>>()))
}

/// As many fields as `count`, between separators of one kind, each with a cell or nothing in it.
fn fields(text: &str, count: usize, size: Size) -> Option<Vec<u8>> {
    let read = |text: &str, separator: char| -> Option<Vec<u8>> {
        let field = |field: &str| {
            let mut characters = field.trim().trim_matches('"').chars();
            match (characters.next(), characters.next()) {
                (None, _) => Some(0),
                (Some(c), None) if is_dash(c) => Some(0),
                (Some(c), None) => cell(c, size),
                _ => None,
            }
        };
        (text.matches(separator).count() + 1 == count).then_some(())?;
        text.split(separator).map(field).collect()
    };
    let text = text.trim_matches([' ', '\n', '\r']);
    let barred = text.strip_prefix('|').and_then(|rest| rest.strip_suffix('|'));
    [',', ';', '\t'].into_iter().find_map(|separator| read(text, separator)).or_else(|| read(barred?, '|'))
}

/// A row with bars between its boxes and spaces for blanks: `|53 | 7 |   |`, or with a space around each cell.
fn barred(text: &str, size: Size) -> Option<Row> {
    let line = text.trim_end_matches(['\n', '\r']);
    // Spaces at the ends may be cells, or be there for nothing.
    [line, line.trim_end(), line.trim_start(), line.trim()]
        .into_iter()
        .find_map(|line| between_bars(line, size))
}

fn between_bars(line: &str, size: Size) -> Option<Row> {
    let side = size.box_side();
    let line = line.strip_prefix(is_bar).unwrap_or(line);
    let line = line.strip_suffix(is_bar).unwrap_or(line);
    let parts: Vec<Vec<char>> = line.split(is_bar).map(|part| part.chars().collect()).collect();
    if parts.len() != side {
        return None;
    }
    let read = |cells: &mut dyn Iterator<Item = char>| -> Option<Vec<u8>> {
        cells.map(|c| if c == ' ' { Some(0) } else { cell(c, size) }).collect()
    };
    let mut row = Vec::new();
    for part in &parts {
        if part.len() == side {
            row.extend(read(&mut part.iter().copied())?);
        } else if part.len() == 2 * side + 1 && part.iter().step_by(2).all(|&c| c == ' ') {
            row.extend(read(&mut part.iter().skip(1).step_by(2).copied())?);
        } else {
            return None;
        }
    }
    Some(padded(&row))
}

/// A row of digits and spaces alone, no longer than the board is wide.
fn gaps(text: &str, size: Size) -> Option<Line> {
    let line = text.trim_end();
    let digits = line.chars().all(|c| c == ' ' || c.is_ascii_digit() && c != '0');
    if !digits || line.chars().count() > size.side() {
        return None;
    }
    let row: Option<Vec<u8>> = line.chars().map(|c| if c == ' ' { Some(0) } else { cell(c, size) }).collect();
    Some(Line::Gaps { row: padded(&row?), sure: line.contains(' ') })
}

/// Whether it holds a word: two letters together, other than blanks.
fn has_word(trimmed: &str) -> bool {
    let letter = |c: char| c.is_alphabetic() && !matches!(c, 'x' | 'X');
    trimmed.chars().zip(trimmed.chars().skip(1)).any(|(a, b)| {
        letter(a) && (letter(b) || matches!(b, 'x' | 'X')) || matches!(a, 'x' | 'X') && letter(b)
    })
}

/// Whether a word of it looks like a board, one that has lost a cell for example: such a line is no title.
fn has_board(trimmed: &str, side: usize) -> bool {
    let like_cell = |c: char| c.is_ascii_digit() || is_dash(c) || cell(c, Size::Nine).is_some();
    trimmed.split(separates).any(|word| word.chars().count() > 2 * side && word.chars().all(like_cell))
}

/// What is wrong with a line that is nothing.
fn odd(trimmed: &str, size: Size) -> TextError {
    let side = size.side();
    let strange = |&(_, c): &(usize, char)| !separates(c) && !is_dash(c) && cell(c, size).is_none();
    if let Some((place, character)) = trimmed.chars().enumerate().find(strange) {
        return TextError {
            line: None,
            found: format!("{character:?} at character {}", place + 1),
            expected: format!("1 to {side}, or . or 0 for a blank (* _ - x ? are blanks too)"),
        };
    }
    let dashes = !trimmed.contains(['+', '=', '|']);
    let count = trimmed.chars().filter(|&c| !separates(c) && (dashes || !is_dash(c))).count();
    TextError {
        line: None,
        found: format!("{count} cells"),
        expected: format!("{} cells in the line, or {side} in a row", size.cells()),
    }
}
