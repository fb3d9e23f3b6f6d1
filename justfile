# What a developer does, by name: `just`, then a name. `just ci` is what a change must pass.

shared := env("HRM_SHARED", "../shared")

# list the names
default:
    @just --list --unsorted

# format, lint, test, docs
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# all tests
test:
    cargo test --workspace

# formatting and clippy, warnings denied
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# the documentation of the crates, warnings denied
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# make puzzles, train, evaluate, solve one step by step
quickstart:
    cargo run --release -- quickstart

# our numbers against the published program's, tensor group by tensor group
golden:
    cargo run --release -- check --golden {{shared}}/golden
    cargo run --release -- check --golden {{shared}}/golden --backend reference

# write fixtures/*.postcard again (needs fixtures/requirements.txt)
fixtures:
    python3 fixtures/reference.py fixtures --out fixtures

# our PyTorch reading against the published program's numbers (needs fixtures/requirements.txt)
check-fixtures:
    python3 fixtures/reference.py check --golden {{shared}}/golden

# hashes of what each backend computes: equal programs print equal lines (needs g++)
hashes:
    cargo run -p hrm-tests --features emulator --example hashes

# our step times beside PyTorch's (needs fixtures/requirements.txt)
bench:
    tools/bench

# docs/cuda-kernels.md again: what NVRTC says of every kernel on every architecture (needs NVRTC, no GPU)
cuda-kernels:
    cargo run -p hrm-cuda --example kernel_report -- docs/cuda-kernels.md

# the CUDA kernels on the CPU, under AddressSanitizer: the emulator's tests and the conformance suite (needs g++)
cuda-emulator:
    bash .ci/run emulator

# licences, doubled crates and sources of the dependencies, by deny.toml
deny:
    tools/deny

# hrm-core's and hrm-host's own code under AddressSanitizer, the unsafe modules with it
sanitize:
    tests/sanitize

# everything that is checked on a GPU; tools/cuda-pack makes a folder to take to a machine that has one
cuda-verify *ARGS:
    tools/cuda-pack target/cuda-verify
    target/cuda-verify/cuda-verify {{ARGS}}

# hrm-core links with neither std nor alloc
no-std:
    tests/no_std/check

# the firmware, built without alloc, booted in QEMU on every machine (Debian; installs what it needs)
firmware:
    tests/firmware/check

# feed one reader of foreign bytes with damage, for so many seconds (needs cargo-fuzz)
fuzz TARGET SECONDS="60": fuzz-corpus
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -rss_limit_mb=1024 -timeout=10

# all of them, one after the other
fuzz-all SECONDS="10": fuzz-corpus
    for target in $(ls fuzz/fuzz_targets | sed 's/[.]rs$//'); do \
        RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none "$target" -- -max_total_time={{SECONDS}} -rss_limit_mb=1024 -timeout=10 || exit 1; \
    done

[private]
fuzz-corpus:
    cargo run --quiet -p hrm-tests --example corpus -- fuzz/corpus

# plant one error at a time and ask that a test notice
mutants *ARGS:
    tests/mutants/run {{ARGS}}

# kill -9 a tiny run so many times at random moments: each must come to the bits of a run that nobody disturbed
kills N="300":
    HRM_KILLS={{N}} cargo test -p hrm-tests --test cli -- --ignored --nocapture every_one_of_many_kills

# everything that a change must pass
ci *STEPS:
    bash .ci/run {{STEPS}}
