//! The kernel sources, as they are compiled into this program.

use crate::error::Error;

macro_rules! sources {
    ($ending:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../kernels/", $name, $ending)))),*]
    };
}

/// The headers that units include, by their names.
pub const HEADERS: &[(&str, &str)] = sources!["":
    "attention.cuh", "attention_sm90.cuh", "attention_sm90_few.cuh", "attention_sm90_vjp.cuh", "common.cuh", "gemm_sm90.cuh",
    "gemm_sm90_norm.cuh", "gemm_sm90_swiglu_vjp.cuh", "gemm_sm90_tile.cuh", "hopper.cuh", "mma.cuh", "swiglu.cuh",
    "token_mix_sm90.cuh",
];

/// The units: each is compiled by itself.
pub const UNITS: &[(&str, &str)] = sources![".cu":
    "add", "attention_long", "attention_plain", "attention_short", "attention_sm90", "attention_vjp_kv_sm90",
    "attention_vjp_q_sm90", "carry", "columns", "embedding", "gemm_sm90",
    "linear_narrow", "loss", "norm", "optimizer", "q_head", "rope", "sum_chunks", "swiglu", "token_mix_sm90",
    "token_mix_vjp_sm90", "token_weights", "transpose", "wrappers", "wrappers_sm90",
];

/// The source of a unit.
///
/// # Errors
/// There is no such unit.
pub fn unit(name: &str) -> Result<&'static str, Error> {
    let found = UNITS.iter().find(|(unit, _)| *unit == name);
    found.map(|(_, source)| *source).ok_or_else(|| Error::Device {
        action: "look for a kernel's source".into(),
        reason: format!("there is no kernels/{name}.cu in this program"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_of_the_directory_is_listed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let units = UNITS.iter().map(|(name, _)| format!("{name}.cu"));
        let mut listed: Vec<String> = units.chain(HEADERS.iter().map(|(name, _)| (*name).into())).collect();
        let mut files: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".cu") || name.ends_with(".cuh"))
            .collect();
        listed.sort();
        files.sort();
        assert_eq!(listed, files);
    }
}
