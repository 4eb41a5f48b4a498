//! `bsbr`: the commands of the project as an installed program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main("bsbr")
}
