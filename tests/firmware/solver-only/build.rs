//! Only what can be reached from the one function is linked, for a Cortex-M.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--entry=solve");
}
