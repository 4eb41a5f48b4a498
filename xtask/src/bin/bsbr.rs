//! `bsbr`: the commands of the project, installed.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main("bsbr")
}
