//! No kernel forgets to wait for the launch before it. What would be a race now and then shows in the compiler's PTX: every
//! path through a kernel is followed until it waits, and what it meets on the way must neither touch global memory nor leave.

use std::collections::{HashMap, HashSet};
use std::env;

use super::super::nvrtc::{self, Arch};
use super::super::sources::UNITS;
use crate::error::Error;

/// An architecture whose launches overlap.
const ARCH: Arch = Arch { capability: (9, 0) };

const WAIT: &str = "griddepcontrol.wait";

/// The one access to global memory that need not wait: products fetch weights, which alone come by maps of five dimensions.
const WEIGHTS: &str = "cp.async.bulk.tensor.5d.";

/// The kernels to which that does not apply, by how their names begin: their weights are a copy that the launch before makes.
const COPIED_WEIGHTS: &str = "linear_swiglu_vjp";

/// Whether an instruction of a kernel has to wait: it touches global memory, or may, or lets the launch behind begin.
/// Tensor maps are arguments.
fn must_wait(kernel: &str, name: &str) -> bool {
    let mut parts = name.split('.');
    match parts.next().unwrap_or_default() {
        "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" => !parts.any(|part| {
            ["param", "shared", "local", "const", "tensormap"]
                .contains(&part.split("::").next().unwrap_or(part))
        }),
        "cp" if name.starts_with(WEIGHTS) => kernel.starts_with(COPIED_WEIGHTS),
        "cp" => !name.contains("commit") && !name.contains("wait"),
        "griddepcontrol" => name != WAIT,
        "call" | "tex" | "tld4" | "suld" | "sust" | "multimem" => true,
        _ => false,
    }
}

/// What each kernel of `ptx` does too early; also how many kernels there are.
fn too_early(ptx: &str) -> (usize, Vec<String>) {
    let (mut kernels, mut complaints) = (0, Vec::new());
    for entry in ptx.split(".entry ").skip(1) {
        kernels += 1;
        let name = entry.split('(').next().unwrap_or_default().trim();
        let body = entry.split_once("\n{").map_or("", |(_, body)| body);
        let body = body.split_once("\n}").map_or(body, |(body, _)| body);
        complaints.extend(paths(name, body).into_iter().map(|what| format!("{name}: {what}")));
    }
    (kernels, complaints)
}

/// What is met before a wait on any path through the body of `kernel`.
fn paths(kernel: &str, body: &str) -> Vec<String> {
    let (mut code, mut labels) = (Vec::new(), HashMap::new());
    for line in body.lines() {
        let mut line = line.split("//").next().unwrap_or_default().trim();
        let is_label = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_$".contains(c));
        if let Some((label, rest)) = line.split_once(':').filter(|(label, _)| is_label(label)) {
            labels.insert(label, code.len());
            line = rest;
        }
        code.extend(
            line.split(';')
                .map(|part| part.trim_matches(['{', '}', ' ', '\t']))
                .filter(|part| !part.is_empty()),
        );
    }
    let (mut open, mut seen, mut found) = (vec![0], HashSet::new(), Vec::new());
    while let Some(at) = open.pop() {
        if !seen.insert(at) {
            continue;
        }
        // Past the end a kernel leaves.
        let statement = code.get(at).copied().unwrap_or("ret");
        let conditional = statement.starts_with('@');
        let mut words = statement.split_whitespace().skip(usize::from(conditional));
        let name = words.next().unwrap_or_default();
        let goes_on = match name.split('.').next().unwrap_or_default() {
            "bra" => {
                let target = words.next().unwrap_or_default();
                open.push(*labels.get(target).unwrap_or_else(|| panic!("no label {target}: {statement}")));
                conditional
            }
            "brx" => panic!("the targets are not known: {statement}"),
            "ret" | "exit" => {
                found.push(format!("leaves: {statement}"));
                conditional
            }
            _ if name == WAIT => conditional,
            _ => true,
        };
        if must_wait(kernel, name) {
            found.push(statement.to_owned());
        }
        if goes_on {
            open.push(at + 1);
        }
    }
    found
}

/// The kernels of `source` and what they do too early; none where NVRTC is not installed, as it must be where
/// `HRM_CUDA_PATH` says so.
fn of_source(unit: &'static str, source: &str) -> Option<(usize, Vec<String>)> {
    match nvrtc::compile_source(unit, source, ARCH, &[]) {
        Ok(compiled) => Some(too_early(&compiled.ptx)),
        Err(Error::Library { .. }) if env::var_os("HRM_CUDA_PATH").is_none() => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_kernel_waits_first() {
    assert!(UNITS.iter().any(|(_, source)| source.contains(&format!("({COPIED_WEIGHTS}_"))));
    for (unit, source) in UNITS {
        let Some((kernels, complaints)) = of_source(unit, source) else { return };
        assert!(kernels > 0, "no kernel in {unit}");
        assert!(
            complaints.is_empty(),
            "kernels/{unit}.cu before wait_for_launch_before:\n{}",
            complaints.join("\n")
        );
    }
}

#[test]
fn a_kernel_that_does_not_wait_is_found() {
    let kernel = |name: &str, body: &str| {
        format!(
            "#include \"hopper.cuh\"
            extern \"C\" __global__ void {name}(const __grid_constant__ TensorMap map, float *x, const int *n, int m) {{
                {body}
            }}"
        )
    };
    let wait = "wait_for_launch_before();";
    let cases = [
        (format!("{wait} x[threadIdx.x] += 1.0f;"), true),
        (format!("SHARED(int, s, 256); s[threadIdx.x] = m; __syncthreads(); {wait} x[m] = s[m];"), true),
        (format!("if (m > 3) {{ {wait} x[0] = 1.0f; }} else {{ {wait} }}"), true),
        ("x[threadIdx.x] += 1.0f;".into(), false),
        (format!("const int first = n[0]; {wait} x[0] = first;"), false),
        (format!("x[threadIdx.x] = 1.0f; {wait}"), false),
        (format!("if (threadIdx.x > m) return; {wait} x[0] = 1.0f;"), false),
        (format!("if (m > 3) {wait} x[threadIdx.x] = 1.0f;"), false),
        (format!("for (int i = 0; i < m; i++) {wait} x[threadIdx.x] = 1.0f;"), false),
        (format!("atomicAdd(x, 1.0f); {wait}"), false),
        (format!("asm volatile(\"griddepcontrol.launch_dependents;\"); {wait}"), false),
        (format!("cp_async_bulk_tensor_5d(1024, map, 0, 0, 0); {wait}"), true),
        (format!("cp_async_bulk_tensor(1024, map, 0, 0, 0); {wait}"), false),
        (format!("prefetch_tensormap(map); {wait}"), true),
        (format!("st_async(1024, 0.0f, 0); mbarrier_wait(0, 0); {wait}"), true),
        (format!("asm volatile(\"prefetch.global.L2 [%0];\" :: \"l\"(n)); {wait}"), false),
    ];
    let copied = (
        format!("{COPIED_WEIGHTS}_1"),
        format!("cp_async_bulk_tensor_5d(1024, map, 0, 0, 0); {wait}"),
        false,
    );
    for (name, body, waits) in
        cases.map(|(body, waits)| ("k".into(), body, waits)).into_iter().chain([copied])
    {
        let Some((kernels, complaints)) = of_source("case", &kernel(&name, &body)) else { return };
        assert_eq!((kernels, complaints.is_empty()), (1, waits), "{body}: {complaints:?}");
    }
}
