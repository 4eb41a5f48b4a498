//! `cargo xtask`: the commands of the project, from its sources.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main("cargo xtask")
}
