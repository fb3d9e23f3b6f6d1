//! The self-test on the host: its cases are what they should be, and it notices what is wrong.

use std::collections::BTreeSet;
use std::fmt;

use firmware::case::{Kernel, cases};
use firmware::machine::{Exit, Machine};
use firmware::{MODEL, RAM, loaded, run, self_test};
use host::golden;

/// A console with its input, which keeps the output.
struct Console {
    input: Vec<u8>,
    output: String,
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.output.push_str(text);
        Ok(())
    }
}

impl Machine for Console {
    fn read(&mut self) -> Option<u8> {
        (!self.input.is_empty()).then(|| self.input.remove(0))
    }
    fn peak_stack(&self) -> Option<usize> {
        None
    }
    fn fault(&mut self) -> ! {
        panic!("a fault was asked for")
    }
}

fn console(input: &str, bundle: Option<&'static [u8]>) -> (Exit, String) {
    let mut console = Console { input: input.into(), output: String::new() };
    let exit = run(&mut console, bundle, &mut vec![0; RAM]);
    (exit, console.output)
}

fn check(bytes: &[u8]) -> (bool, String) {
    let mut output = String::new();
    let right = self_test::check(&mut output, bytes, &mut vec![0; RAM]).is_ok();
    (right, output)
}

#[test]
fn the_cases_in_the_repository_are_those_that_are_made_now() {
    assert!(golden::cases().unwrap() == self_test::CASES, "write them again: see README.md");
}

#[test]
fn every_kernel_has_a_case() {
    let name = |kernel: Kernel<'_>| format!("{kernel:?}").split(' ').next().map(str::to_owned);
    let names: BTreeSet<String> =
        cases(self_test::CASES).filter_map(|case| name(case.unwrap().kernel)).collect();
    assert_eq!(names.len(), 12, "{names:?}");
}

#[test]
fn a_number_that_is_off_is_noticed() {
    for (index, case) in cases(self_test::CASES).enumerate() {
        let mut case = case.unwrap();
        let mut expected = case.expected.to_vec();
        let last = expected.len() - 4;
        let moved = f32::from_le_bytes(expected[last..].try_into().unwrap()) + 100.0;
        expected[last..].copy_from_slice(&moved.to_le_bytes());
        case.expected = &expected;
        let (right, output) = check(&postcard::to_stdvec(&case).unwrap());
        assert!(!right && output.contains(case.name), "{index}: {output}");
        case.expected = &expected[4..];
        let (right, output) = check(&postcard::to_stdvec(&case).unwrap());
        assert!(!right && output.contains("numbers, expected"), "{index}: {output}");
    }
}

#[test]
fn damaged_cases_are_noticed() {
    let (right, output) = check(&self_test::CASES[..self_test::CASES.len() - 1]);
    assert!(!right && output.contains("damaged after 38"), "{output}");
}

#[test]
fn the_console_solves_and_says_what_is_wrong() {
    let (exit, output) = console("..414..2321.1.23 2341413232141423\nend\n", None);
    assert_eq!(exit, Exit::Right, "{output}");
    assert!(output.contains("linked model: 16 cells") && output.contains("halted after"), "{output}");
    for (input, what) in [
        ("..414..2321.1.23 2341413232141424\n", "the answer is not the solution"),
        ("..414..2321.1.2\n", "the puzzle ..414..2321.1.2 is no board"),
        ("..414..2321.1.2x\n", "is no board"),
        ("..414..2321.1.23 1\n", "the solution 1 is no board"),
        ("hash 12\n", "expected 0000000000000012"),
        ("a b c\n", "a line of more than two words"),
        (&"1".repeat(300), "a line of more than 256 characters"),
    ] {
        let (exit, output) = console(input, None);
        assert!(exit == Exit::Wrong && output.contains(what), "{input}: {output}");
    }
}

#[test]
fn a_bundle_is_found_in_memory_and_a_damaged_one_refused() {
    let mut memory = MODEL.0.to_vec();
    memory.resize(memory.len() + 100, 0);
    let memory: &'static [u8] = Vec::leak(memory);
    assert_eq!(loaded(memory), Some(&MODEL.0));
    assert_eq!(loaded(&memory[1..]), None);
    let (exit, output) = console("end\n", loaded(memory));
    assert!(exit == Exit::Right && output.contains("loaded model"), "{output}");
    let (exit, output) = console("end\n", Some(&memory[..1000]));
    assert!(exit == Exit::Wrong && output.contains("the loaded model: "), "{output}");
}
