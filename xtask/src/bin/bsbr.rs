//! `bsbr`: the commands of the project as an installed program.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main("bsbr")
}
