//! `cargo xtask`: the commands of the project, from its sources.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main("cargo xtask")
}
