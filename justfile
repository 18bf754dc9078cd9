# What CI checks. `verify` writes nothing.
verify: fmt lint docs test

fmt:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

test:
    cargo test --workspace --locked

# The tour of the mini-cluster, once.
tour:
    cargo run --release --locked --example mini-cluster -- --once

# The figures of docs/benchmarks.md.
bench:
    cargo bench --locked
