//! Whether the tests of a folder or a file are held out or trained on: by its name, or as the caller says.

use crate::data::error::{Error, Place, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// What becomes of a task's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They are trained on, with their answers.
    Train,
    /// They are the split `test`.
    HoldOut,
}

/// The word that stands for every name that does not tell.
pub const OTHERS: &str = "others";

/// What the caller says of names, before what they say themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Names of folders or files that are trained on, or [`OTHERS`].
    pub train_on: Vec<String>,
    /// Names of folders or files that are held out, or [`OTHERS`].
    pub hold_out: Vec<String>,
}

/// [`Roles`] in use: it knows which of its names were met.
pub(super) struct Judge<'r> {
    roles: &'r Roles,
    met: RefCell<BTreeSet<String>>,
}

impl<'r> Judge<'r> {
    /// # Errors
    /// [`Error::Argument`] if a name stands on both sides.
    pub(super) fn new(roles: &'r Roles) -> Result<Self> {
        let both = |name: &&String| roles.hold_out.iter().any(|other| plain(other) == plain(name));
        if let Some(name) = roles.train_on.iter().find(both) {
            return Err(Error::argument("--train-on", name, "a name that --hold-out does not have too"));
        }
        Ok(Self { roles, met: RefCell::default() })
    }

    /// The role of what is called `names`, the nearest name first; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Format`] if none of the names tells.
    pub(super) fn role(&self, path: &Path, names: &[String]) -> Result<Role> {
        self.told(names).ok_or_else(|| {
            let name = names.first().map_or("", String::as_str);
            let expected = format!(
                "a name that says whether its tests are held out, such as training or evaluation; \
                 --hold-out {name} holds them out, --train-on {name} trains on their answers too \
                 ({OTHERS} in its place stands for all such names)"
            );
            Error::format(path, Place::File, "name", name, expected)
        })
    }

    /// The role, if any of the names tells.
    pub(super) fn told(&self, names: &[String]) -> Option<Role> {
        let said = |name: &str| {
            let listed = |list: &[String]| list.iter().any(|other| plain(other) == plain(name));
            let role = if listed(&self.roles.train_on) {
                Role::Train
            } else if listed(&self.roles.hold_out) {
                Role::HoldOut
            } else {
                return None;
            };
            self.met.borrow_mut().insert(plain(name));
            Some(role)
        };
        let by_caller = names.iter().find_map(|name| said(name));
        by_caller.or_else(|| names.iter().find_map(|name| by_name(name))).or_else(|| said(OTHERS))
    }

    /// Refuses a name that was said and not met: a misspelt one would change nothing, silently.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub(super) fn finish(self) -> Result<()> {
        let met = self.met.into_inner();
        let sides = [("--train-on", &self.roles.train_on), ("--hold-out", &self.roles.hold_out)];
        for (flag, names) in sides {
            let unknown = |name: &&String| plain(name) != OTHERS && !met.contains(&plain(name));
            if let Some(name) = names.iter().find(unknown) {
                return Err(Error::argument(flag, name, "the name of a folder or a file of the tasks"));
            }
        }
        Ok(())
    }
}

/// A name as it is compared: the last part of a path, without `.json` and in small letters.
fn plain(name: &str) -> String {
    let name = name.to_lowercase();
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.strip_suffix(".json").unwrap_or(last).to_owned()
}

/// The folders of ConceptARC, in which the published recipe trains on everything.
const CONCEPTS: [&str; 18] = [
    "abovebelow",
    "center",
    "cleanup",
    "completeshape",
    "copy",
    "count",
    "extendtoboundary",
    "extractobjects",
    "filledandnotfilled",
    "fillednotfilled",
    "horizontalvertical",
    "insideoutside",
    "movetoboundary",
    "order",
    "samedifferent",
    "topbottom2d",
    "topbottom3d",
    "minimaltasks",
];

/// What a name says by itself: `Evaluation`, `public_eval` and `arc-agi_test_challenges` are held out, `training2` and
/// `concept` are trained on. A name that says both, as `train_test`, says nothing.
fn by_name(name: &str) -> Option<Role> {
    if CONCEPTS.contains(&&*name.to_lowercase()) {
        return Some(Role::Train);
    }
    let words = words(name);
    let has = |role: Role| words.iter().any(|word| by_word(word) == Some(role));
    let apart = ["held", "hold"]
        .iter()
        .any(|first| words.windows(2).any(|pair| pair[0] == *first && pair[1] == "out"));
    match (has(Role::Train), has(Role::HoldOut) || apart) {
        (true, false) => Some(Role::Train),
        (false, true) => Some(Role::HoldOut),
        _ => None,
    }
}

fn by_word(word: &str) -> Option<Role> {
    let begins = |starts: &[&str]| starts.iter().any(|start| word.starts_with(start));
    let ends = |ends: &[&str]| ends.iter().any(|end| word.ends_with(end));
    let exact = |words: &[&str]| words.contains(&word);
    let held_out =
        begins(&["eval", "valid", "test", "heldout", "holdout", "hidden", "private", "semiprivate"])
            || ends(&["eval", "evals", "evaluation", "validation"])
            || exact(&["val", "vals", "dev", "secret"]);
    let trained = begins(&["train", "concept"]) || ends(&["train", "training"]) || word == "corpus";
    match (trained, held_out) {
        (true, false) => Some(Role::Train),
        (false, true) => Some(Role::HoldOut),
        _ => None,
    }
}

/// The words of a name in small letters, without digits at their ends: `publicEval2` has `public` and `eval`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for character in name.chars() {
        let begins = !character.is_alphabetic() || before.is_lowercase() && character.is_uppercase();
        if begins {
            words.push(String::new());
        }
        if character.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_tell() {
        for name in [
            "evaluation",
            "Evaluation",
            "EVALUATION",
            "evaluation2",
            "eval",
            "evals",
            "public_eval",
            "public-eval",
            "publicEval",
            "PublicEvaluation",
            "publiceval",
            "public evaluation set",
            "eval_set",
            "evalset",
            "validation",
            "Validation",
            "valid",
            "val",
            "dev",
            "test",
            "Test",
            "tests",
            "testing",
            "testset",
            "test_data",
            "held-out",
            "held_out",
            "heldout",
            "HoldOut",
            "hidden",
            "private",
            "semi_private",
            "arc-agi_evaluation_challenges",
            "arc-agi_test_challenges",
            "arc-agi_evaluation2_challenges",
            "test_puzzles",
            "private_eval",
            "02_evaluation",
        ] {
            assert_eq!(by_name(name), Some(Role::HoldOut), "{name}");
        }
        for name in [
            "training",
            "Training",
            "TRAINING",
            "train",
            "trainset",
            "train_set",
            "public_training",
            "publicTraining",
            "training2",
            "arc-agi_training_challenges",
            "arc-agi_training2_challenges",
            "arc-agi_concept_challenges",
            "concept",
            "ConceptARC",
            "corpus",
            "AboveBelow",
            "Copy",
            "TopBottom3D",
        ] {
            assert_eq!(by_name(name), Some(Role::Train), "{name}");
        }
        for name in
            ["", "data", "tasks", "public", "latest", "contest", "device", "mine", "train_test", "評価", "2"]
        {
            assert_eq!(by_name(name), None, "{name}");
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_caller_decides_before_names_and_the_nearest_name_before_others() {
        let roles =
            Roles { train_on: names(&["data/Evaluation/", "others"]), hold_out: names(&["Secret.json"]) };
        let judge = Judge::new(&roles).unwrap();
        let role = |of: &[&str]| judge.told(&names(of)).unwrap();
        assert_eq!(role(&["evaluation"]), Role::Train);
        assert_eq!(role(&["secret", "training"]), Role::HoldOut);
        assert_eq!(role(&["validation"]), Role::HoldOut);
        assert_eq!(role(&["part1", "validation"]), Role::HoldOut);
        assert_eq!(role(&["training", "validation"]), Role::Train);
        assert_eq!(role(&["part1"]), Role::Train);
        judge.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_told_names_the_flags() {
        let roles = Roles::default();
        let error = Judge::new(&roles).unwrap().role(Path::new("mine/part1"), &names(&["part1", "mine"]));
        let error = error.unwrap_err().to_string();
        for part in ["mine/part1, name: found part1", "--hold-out part1", "--train-on part1", "others"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn names_that_are_not_there_or_on_both_sides_are_refused() {
        let roles = Roles { hold_out: names(&["evalation"]), ..Roles::default() };
        let judge = Judge::new(&roles).unwrap();
        assert_eq!(judge.told(&names(&["training"])), Some(Role::Train));
        let error = judge.finish().unwrap_err().to_string();
        assert_eq!(
            error,
            "--hold-out: found evalation, expected the name of a folder or a file of the tasks"
        );
        let roles = Roles { train_on: names(&["A"]), hold_out: names(&["x/a.json"]) };
        assert!(Judge::new(&roles).is_err());
    }
}
