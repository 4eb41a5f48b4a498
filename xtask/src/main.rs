//! The commands of the project: `cargo xtask --help` lists them.

mod commands;
mod device;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// GPT-2 as a BSBR model: convert it, measure it, train it.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Convert a GPT-2 folder to BSBR
    Convert(commands::convert::Args),
    /// Continue a text, or lists of token ids
    Generate(commands::generate::Args),
    /// Write the logits and hidden states of token ids to a file
    Logits(commands::logits::Args),
    /// Train the bundled model from nothing on storybook text
    Pretrain(commands::pretrain::Args),
    /// Measure every arm beside the dense model, and write tables, plots and a page
    Reproduce(commands::reproduce::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Convert(args) => commands::convert::run(args),
        Command::Generate(args) => commands::generate::run(args),
        Command::Logits(args) => commands::logits::run(args),
        Command::Pretrain(args) => commands::pretrain::run(args),
        Command::Reproduce(args) => commands::reproduce::run(args),
    }
}
