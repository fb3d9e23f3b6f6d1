//! Several collections in one: a task that is in two of them is taken once, two tasks of one name are told apart.
//!
//! ARC-AGI-2 has most tasks of ARC-AGI-1 under the same names, with their pairs in another order; 376 that ARC-AGI-1
//! evaluates on are training tasks there. RE-ARC has new pairs under the names of ARC-AGI-1.

use super::grid::Grid;
use super::role::Role;
use super::task::{Pair, Task};
use std::collections::BTreeMap;
use std::mem;

/// A task and what becomes of its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The task.
    pub task: Task,
    /// What becomes of its tests.
    pub role: Role,
}

/// What [`merge`] met, by the tasks' names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Taken once, given more often.
    pub same: Vec<String>,
    /// Of those, held out in one place and trained on in another.
    pub held_out: Vec<String>,
    /// New names of tasks whose name another task has.
    pub renamed: Vec<String>,
    /// Tasks that had, among what is trained on, a test that is held out under the same name.
    pub leaking: Vec<String>,
}

/// The tasks by name, each once, and what was met.
///
/// Of two copies one that is held out is kept, so that no answer to a test is trained on; of two tasks of one name it
/// keeps the name. Between others the first decides. With `to_train`, what is trained on has no test that is held out
/// under the same name.
pub(super) fn merge(found: Vec<Found>, to_train: bool) -> (Vec<Found>, Merged) {
    let mut by_name: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for one in found {
        by_name.entry(one.task.name.clone()).or_default().push(one);
    }
    let (mut tasks, mut met) = (BTreeMap::new(), Merged::default());
    for (name, mut copies) in by_name {
        copies.sort_by_key(|copy| copy.role == Role::Train);
        let mut kept: Vec<Found> = Vec::new();
        let (mut is_twice, mut is_in_both) = (false, false);
        for copy in copies {
            match kept.iter_mut().find(|other| is_same(&other.task, &copy.task)) {
                Some(other) => {
                    is_twice = true;
                    is_in_both |= other.role != copy.role;
                    take_answers(&mut other.task, &copy.task);
                }
                None => kept.push(copy),
            }
        }
        if is_twice {
            met.same.push(name.clone());
        }
        if is_in_both {
            met.held_out.push(name.clone());
        }
        if to_train && withhold(&mut kept) {
            met.leaking.push(name);
        }
        for (place, mut one) in kept.into_iter().enumerate() {
            if place > 0 {
                one.task.name = format!("{}-{:08x}", one.task.name, sum(&one.task));
                met.renamed.push(one.task.name.clone());
            }
            tasks.insert(one.task.name.clone(), one);
        }
    }
    (tasks.into_values().collect(), met)
}

/// Whether both have the same pairs, in whatever order and whichever of them are tests. An answer that is kept back may
/// be any.
fn is_same(one: &Task, other: &Task) -> bool {
    fn pairs(task: &Task) -> Vec<&Pair> {
        task.train.iter().chain(&task.test).collect()
    }
    let (mut ours, mut theirs) = (pairs(one), pairs(other));
    if ours.len() != theirs.len() {
        return false;
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    if ours == theirs {
        return true;
    }
    ours.into_iter().all(|pair| {
        let agrees = |other: &&Pair| {
            let answers = pair.output.as_ref().zip(other.output.as_ref());
            pair.input == other.input && answers.is_none_or(|(one, other)| one == other)
        };
        theirs.iter().position(agrees).map(|place| theirs.swap_remove(place)).is_some()
    })
}

/// Answers that `task` lacks and its copy has.
fn take_answers(task: &mut Task, copy: &Task) {
    for test in task.test.iter_mut().filter(|test| test.output.is_none()) {
        let mut known = copy.train.iter().chain(&copy.test).filter(|pair| pair.input == test.input);
        test.output = known.find_map(|pair| pair.output.clone());
    }
}

/// Takes from the tasks of one name that are trained on what is a test of one that is held out; a task that keeps no
/// pair goes. Whether there was such a pair.
fn withhold(copies: &mut Vec<Found>) -> bool {
    let held_out = copies.iter().filter(|copy| copy.role == Role::HoldOut);
    let tests: Vec<Grid> = held_out.flat_map(|copy| &copy.task.test).map(|test| test.input.clone()).collect();
    let mut was_there = false;
    for copy in copies.iter_mut().filter(|copy| copy.role == Role::Train) {
        for pairs in [&mut copy.task.train, &mut copy.task.test] {
            let before = mem::take(pairs);
            let count = before.len();
            pairs.extend(before.into_iter().filter(|pair| !tests.contains(&pair.input)));
            was_there |= pairs.len() < count;
        }
    }
    copies.retain(|copy| copy.task.train.len() + copy.task.test.len() > 0);
    was_there
}

/// A number of a task's pairs that does not depend on their order, nor on which of them are tests.
fn sum(task: &Task) -> u32 {
    let mut pairs: Vec<&Pair> = task.train.iter().chain(&task.test).collect();
    pairs.sort_unstable();
    let mut sum = crc32fast::Hasher::new();
    let mut add = |grid: Option<&Grid>| match grid {
        Some(grid) => {
            sum.update(&[grid.rows() as u8, grid.columns() as u8]);
            sum.update(grid.cells());
        }
        None => sum.update(&[0]),
    };
    for pair in pairs {
        add(Some(&pair.input));
        add(pair.output.as_ref());
    }
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(colour: u8) -> Grid {
        Grid::new(1, 1, vec![colour]).unwrap()
    }

    fn pair(input: u8, output: impl Into<Option<u8>>) -> Pair {
        Pair { input: grid(input), output: output.into().map(grid) }
    }

    fn found(role: Role, name: &str, train: &[Pair], test: &[Pair]) -> Found {
        Found { task: Task { name: name.to_owned(), train: train.to_vec(), test: test.to_vec() }, role }
    }

    fn names(tasks: &[Found]) -> Vec<&str> {
        tasks.iter().map(|one| &*one.task.name).collect()
    }

    #[test]
    fn copies_are_taken_once_and_held_out_if_one_is() {
        let first = found(Role::Train, "a", &[pair(1, 2), pair(3, 4)], &[pair(5, 6)]);
        let other_order = found(Role::Train, "a", &[pair(3, 4), pair(1, 2)], &[pair(5, 6)]);
        let held_out = found(Role::HoldOut, "a", &[pair(3, 4), pair(5, 6)], &[pair(1, None)]);
        let alone = found(Role::Train, "b", &[pair(1, 1)], &[pair(1, 1)]);

        let (tasks, met) = merge(vec![alone.clone(), first.clone(), other_order.clone()], true);
        assert_eq!(tasks, [first.clone(), alone]);
        assert_eq!(met, Merged { same: vec!["a".into()], ..Merged::default() });

        let (tasks, met) = merge(vec![first, held_out, other_order], true);
        // It is held out as its own collection has it, and takes the answer that it lacks from the others.
        assert_eq!(tasks, [found(Role::HoldOut, "a", &[pair(3, 4), pair(5, 6)], &[pair(1, 2)])]);
        assert_eq!((met.same, met.held_out), (vec!["a".to_owned()], vec!["a".to_owned()]));
        assert!(met.renamed.is_empty() && met.leaking.is_empty());
    }

    #[test]
    fn other_tasks_of_a_name_get_one_that_depends_on_their_pairs_only() {
        let first = found(Role::Train, "a", &[pair(1, 2)], &[pair(5, 6)]);
        let other = found(Role::Train, "a", &[pair(1, 2), pair(2, 3)], &[pair(5, 7)]);
        let turned = found(Role::Train, "a", &[pair(2, 3), pair(5, 7)], &[pair(1, 2)]);
        let (tasks, met) = merge(vec![first.clone(), other.clone()], true);
        let new = met.renamed[0].clone();
        assert_eq!(names(&tasks), ["a", &new]);
        assert!(new.starts_with("a-") && new.len() == 10 && tasks[1].task.train == other.task.train, "{new}");
        assert_eq!(merge(vec![first.clone(), turned.clone(), other], true).1.renamed, [&*new]);
        let (tasks, met) = merge(vec![turned, first], true);
        assert_ne!(met.renamed, [new]);
        assert_eq!(tasks.len(), 2);
    }

    #[test]
    fn no_test_that_is_held_out_is_trained_on_under_its_name() {
        let held_out = found(Role::HoldOut, "a", &[pair(1, 2)], &[pair(5, 6), pair(7, 8)]);
        // A version with a pair more, one that has nothing but tests, and another task with the same pair.
        let version = found(Role::Train, "a", &[pair(1, 2), pair(5, 6)], &[pair(9, 9), pair(7, 8)]);
        let tests = found(Role::Train, "a", &[pair(5, 6)], &[]);
        let other = found(Role::Train, "b", &[pair(5, 6)], &[pair(1, 1)]);
        let (tasks, met) = merge(vec![version.clone(), tests, held_out.clone(), other.clone()], true);
        assert_eq!(met.leaking, ["a"]);
        assert_eq!(tasks.len(), 3);
        assert_eq!(tasks[0], held_out);
        assert_eq!((&*tasks[1].task.train, &*tasks[1].task.test), (&[pair(1, 2)][..], &[pair(9, 9)][..]));
        assert_eq!(tasks[2], other);
        let (whole, met) = merge(vec![version.clone(), held_out], false);
        assert!(met.leaking.is_empty() && whole[1].task.test == version.task.test);
    }
}
