//! `cargo xtask first-token`: a process that `bench` starts to time the opening of a
//! model.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use bsbr_report::bench::first_token::here;

use crate::device;

/// Open a model folder and print the time of its first token.
#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value = "flex", help = device::HELP)]
    device: String,
    /// The folder
    model: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let device = device::parse(&args.device)?;
    let found = here(&args.model, &device).map_err(|reason| anyhow!(reason))?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::options;

    pub fn every_option_counts() {
        options::check(&["model"], |args: &Args| {
            format!("{:?} {}", args.model, args.device)
        });
    }
}
