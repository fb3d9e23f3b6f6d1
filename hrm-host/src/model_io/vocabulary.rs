//! The names of the tokens of the published tasks, by the sizes of a model.

use hrm_core::config::Config;

/// Tokens of a puzzle in the published datasets with this many distinct tokens: Sudoku has 11, mazes 6, ARC 12.
pub(super) fn published_seq_len(vocab_size: usize) -> Option<usize> {
    match vocab_size {
        11 => Some(81),
        6 | 12 => Some(900),
        _ => None,
    }
}

/// The names of a model's tokens, if it works on one of the published tasks or on 4 x 4 Sudoku; else none.
pub(super) fn tokens(config: &Config) -> Vec<String> {
    let named = |first: &[&str], digits: std::ops::Range<u8>| {
        let digits = digits.map(|digit| digit.to_string());
        first.iter().map(ToString::to_string).chain(digits).collect()
    };
    match (config.seq_len, config.vocab_size) {
        (81, 11) => named(&["<pad>", "."], 1..10),
        (16, 6) => named(&["<pad>", "."], 1..5),
        (900, 6) => named(&["<pad>", "#", " ", "S", "G", "o"], 0..0),
        (900, 12) => named(&["<pad>", "<eos>"], 0..10),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_a_name_or_none_has() {
        for (seq_len, vocab_size) in [(81, 11), (16, 6), (900, 6), (900, 12)] {
            let config = Config { seq_len, vocab_size, ..Config::SUDOKU_EXTREME };
            assert_eq!(tokens(&config).len(), vocab_size);
        }
        assert_eq!(tokens(&Config { seq_len: 7, ..Config::SUDOKU_EXTREME }), Vec::<String>::new());
        assert_eq!(tokens(&Config::SUDOKU_EXTREME)[10], "9");
    }
}
