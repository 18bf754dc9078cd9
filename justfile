# `verify` is the heart of what CI checks (`.ci/run` is all of it), and writes nothing.
verify: fmt lint docs test

fmt:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features --locked

test:
    cargo test --workspace --all-features --locked

# The tour of the mini-cluster, once.
tour:
    cargo run --release --locked --example mini-cluster -- --once

# The same on Docker.
tour-docker:
    cargo run --release --locked --features docker --example mini-cluster -- --runtime docker --once

# The figures of docs/benchmarks.md, but those of Docker and of the load balancer, which are told there.
bench:
    cargo bench --locked
