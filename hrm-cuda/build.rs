//! With the feature `emulator`: builds the kernels for the CPU, with the emulator's headers.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "emulator")]
    emulator();
}

/// g++ over every kernel and the emulator. `HRM_EMULATOR_ASAN=1` builds them with AddressSanitizer; the program that
/// links them must be run with `ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0`.
#[cfg(feature = "emulator")]
fn emulator() {
    let sources = |folder: &str, ending: &str| {
        println!("cargo::rerun-if-changed={folder}");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|found| found == ending));
        files.sort();
        files
    };
    println!("cargo::rerun-if-env-changed=HRM_EMULATOR_ASAN");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .flag("-fno-strict-aliasing")
        // One rounding for each operation, on every machine.
        .flag("-ffp-contract=off")
        .flag("-Wno-unknown-pragmas")
        // Nothing compiled by an older compiler is called.
        .flag("-Wno-psabi")
        .flag("-x")
        .flag("c++")
        .include("emulator")
        .include("kernels")
        .flag("-include")
        .flag("cuda.h")
        .files(sources("emulator", "cpp"))
        .files(sources("emulator", "cu"))
        .files(sources("kernels", "cu"))
        // Kernels are found by name at run time: nothing else refers to their objects.
        .link_lib_modifier("+whole-archive");
    let sanitized = std::env::var("HRM_EMULATOR_ASAN").is_ok_and(|value| value == "1");
    if sanitized {
        build.flag("-fsanitize=address").flag("-fno-omit-frame-pointer");
    }
    build.compile("hrm_emulator");
    if sanitized {
        println!("cargo::rustc-link-lib=asan");
    }
}
