//! Compiles the pause program, which sandboxes run, for the target: a static program without libc.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name}: {error}"))
}

fn main() {
    println!("cargo::rerun-if-changed=pause");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(var("OUT_DIR")).join("pause");
    let known = matches!(var("CARGO_CFG_TARGET_ARCH").as_str(), "x86_64" | "aarch64");
    if var("CARGO_CFG_TARGET_OS") != "linux" || !known {
        // The runtime says so when it is connected.
        std::fs::write(&out, b"").expect("the output directory can be written to");
        return;
    }
    let mut rustc = Command::new(var("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "pause"]);
    rustc.args(["--target", &var("TARGET")]);
    for option in ["panic=abort", "opt-level=s", "relocation-model=static", "strip=symbols"] {
        rustc.args(["-C", option]);
    }
    for option in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none"] {
        rustc.args(["-C", &format!("link-arg={option}")]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    rustc.arg("-o").arg(&out).arg("pause/pause.rs");
    let status = rustc.status().expect("rustc can be run");
    assert!(status.success(), "rustc can't compile the pause program: {status}");
}
