//! `cargo xtask completions`

use anyhow::Result;
use clap_complete::{Shell, generate};

/// Write shell completions of `bsbr`.
///
/// For bash: `bsbr completions bash > ~/.local/share/bash-completion/completions/bsbr`.
#[derive(clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut crate::cli("bsbr"), "bsbr", &mut script);
    super::print(&script)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(&["bash"], |args: &Args| args.shell.to_string());
    }
}
