//! What the columns of puzzle files are called: the names that published collections use, in any case.

/// What a column, or a key of JSON, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The puzzle as it is asked.
    Question,
    /// The puzzle solved.
    Answer,
    /// How hard it is.
    Rating,
}

const QUESTIONS: [&str; 18] = [
    "question",
    "questions",
    "puzzle",
    "puzzles",
    "quiz",
    "quizzes",
    "quizes",
    "problem",
    "unsolved",
    "input",
    "inputs",
    "givens",
    "grid",
    "board",
    "sudoku",
    "maze",
    "start",
    "value",
];
const ANSWERS: [&str; 15] = [
    "answer",
    "answers",
    "solution",
    "solutions",
    "solved",
    "output",
    "outputs",
    "label",
    "labels",
    "target",
    "result",
    "final",
    "path",
    "sol",
    "end",
];
const RATINGS: [&str; 5] = ["rating", "ratings", "difficulty", "level", "score"];

impl Role {
    /// The role of the column `name`, if its name says so.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let name = name.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let is_in = |names: &[&str]| names.contains(&name.as_str());
        match () {
            () if is_in(&QUESTIONS) => Some(Self::Question),
            () if is_in(&ANSWERS) => Some(Self::Answer),
            () if is_in(&RATINGS) => Some(Self::Rating),
            () => None,
        }
    }

    /// The names of its columns, the likeliest first: where a file has several of them, the first counts.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Question => &QUESTIONS,
            Self::Answer => &ANSWERS,
            Self::Rating => &RATINGS,
        }
    }

    /// The place of this role's column among `names`.
    pub fn find<'a>(self, names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
        let plain = |name: &str| name.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        self.names().iter().find_map(|wanted| names.clone().position(|name| plain(name) == *wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_the_likeliest_wins() {
        for (name, role) in [
            ("Question", Some(Role::Question)),
            (" QUIZZES ", Some(Role::Question)),
            ("\"solution\"", Some(Role::Answer)),
            ("Difficulty", Some(Role::Rating)),
            ("id", None),
            ("clues", None),
            ("", None),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
        let header = ["level", "input", "rating", "question"];
        assert_eq!(Role::Question.find(header.into_iter()), Some(3));
        assert_eq!(Role::Rating.find(header.into_iter()), Some(2));
        assert_eq!(Role::Answer.find(header.into_iter()), None);
    }
}
