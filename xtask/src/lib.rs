//! The commands of the project, for the programs `xtask` and `bsbr`: `bsbr --help` lists them.

#[cfg(target_os = "linux")]
mod allocator;
mod assets;
mod commands;
mod device;
#[cfg(feature = "remote")]
mod remote;

use std::process::ExitCode;
use std::sync::OnceLock;

use bsbr_gpt2::{GenerationError, InputError};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// GPT-2 as a BSBR model: convert it, measure it, train it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The help of a command is that of its arguments: a comment here would replace it.
#[derive(Subcommand)]
enum Command {
    Ask(commands::ask::Args),
    Bench(commands::bench::Args),
    Completions(commands::completions::Args),
    Convert(commands::convert::Args),
    Evaluate(commands::evaluate::Args),
    Finetune(commands::finetune::Args),
    #[command(hide = true)]
    FirstToken(commands::first_token::Args),
    Generate(commands::generate::Args),
    Judge(commands::judge::Args),
    Logits(commands::logits::Args),
    Man(commands::man::Args),
    #[command(hide = true)]
    MemoryCell(commands::memory_cell::Args),
    Pretrain(commands::pretrain::Args),
    Reproduce(commands::reproduce::Args),
    ServeDevice(commands::serve_device::Args),
}

/// The name of the program on command lines.
static PROGRAM: OnceLock<&str> = OnceLock::new();

/// The name of the program on command lines: `cargo xtask` or `bsbr`.
fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("cargo xtask")
}

/// The command line of a program called `name`.
fn cli(name: &'static str) -> clap::Command {
    Cli::command().name(name).bin_name(name)
}

/// Runs the command in this process's arguments. Usage lines, errors and records use the program
/// name `name`.
pub fn main(name: &'static str) -> ExitCode {
    let name = PROGRAM.get_or_init(|| name);
    let matches = cli(name).get_matches();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    let result = match command {
        Command::Ask(args) => commands::ask::run(args),
        Command::Bench(args) => commands::bench::run(args),
        Command::Completions(args) => commands::completions::run(args),
        Command::Convert(args) => commands::convert::run(args),
        Command::Evaluate(args) => commands::evaluate::run(args),
        Command::Finetune(args) => commands::finetune::run(args),
        Command::FirstToken(args) => commands::first_token::run(args),
        Command::Generate(args) => commands::generate::run(args),
        Command::Judge(args) => commands::judge::run(args),
        Command::Logits(args) => commands::logits::run(args),
        Command::Man(args) => commands::man::run(args),
        Command::MemoryCell(args) => commands::memory_cell::run(args),
        Command::Pretrain(args) => commands::pretrain::run(args),
        Command::Reproduce(args) => commands::reproduce::run(args),
        Command::ServeDevice(args) => commands::serve_device::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes on one line each, without repetitions, and advice for commands.
fn explain(error: &anyhow::Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !lines.iter().any(|line| line.contains(&text)) {
            lines.push(text);
        }
        if let Some(positions) = positions_missing(cause) {
            lines.push(format!(
                "`{} convert --model MODEL --positions {positions} --out FOLDER` writes a model \
                 that takes as many tokens",
                program()
            ));
        }
    }
    lines.join("\n  ")
}

/// The number of positions that would have sufficed for an input that was too long.
fn positions_missing(cause: &(dyn std::error::Error + 'static)) -> Option<usize> {
    let of_input = |error: &InputError| match error {
        InputError::TooLong { seq_len, .. } => Some(*seq_len),
        _ => None,
    };
    if let Some(error) = cause.downcast_ref::<GenerationError>() {
        return match error {
            GenerationError::TooLong { needed, .. } => Some(*needed),
            GenerationError::Input(error) => of_input(error),
            _ => None,
        };
    }
    cause.downcast_ref::<InputError>().and_then(of_input)
}

#[cfg(test)]
mod tests {
    use bsbr_gpt2::{GenerationError, InputError};

    use super::{cli, explain};

    #[test]
    fn the_long_help_of_a_command_says_more_than_the_short_one() {
        let cli = cli("bsbr");
        for name in [
            "bench",
            "evaluate",
            "judge",
            "logits",
            "pretrain",
            "reproduce",
        ] {
            let command = cli.find_subcommand(name).unwrap();
            let [short, long] = [command.get_about(), command.get_long_about()]
                .map(|help| help.map(ToString::to_string).unwrap_or_default());
            assert!(long.len() > short.len(), "{name}: {long}");
        }
    }

    /// Each command checks that it has a case for each of its options.
    #[test]
    fn every_option_of_every_command_counts() {
        use crate::commands::*;

        let checks: [(&str, fn()); 15] = [
            ("ask", ask::tests::every_option_counts),
            ("bench", bench::tests::every_option_counts),
            ("completions", completions::tests::every_option_counts),
            ("convert", convert::tests::every_option_counts),
            ("evaluate", evaluate::tests::every_option_counts),
            ("finetune", finetune::tests::every_option_counts),
            ("first-token", first_token::tests::every_option_counts),
            ("generate", generate::tests::every_option_counts),
            ("judge", judge::tests::every_option_counts),
            ("logits", logits::tests::every_option_counts),
            ("man", man::tests::every_option_counts),
            ("memory-cell", memory_cell::tests::every_option_counts),
            ("pretrain", pretrain::tests::every_option_counts),
            ("reproduce", reproduce::tests::every_option_counts),
            ("serve-device", serve_device::tests::every_option_counts),
        ];
        let cli = cli("bsbr");
        let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(commands, checks.map(|(name, _)| name));
        checks.into_iter().for_each(|(_, check)| check());
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file")
            .context("model.safetensors: no such file; check the folder")
            .context("loading DIR");
        assert_eq!(
            explain(&error),
            "loading DIR\n  model.safetensors: no such file; check the folder"
        );
    }

    #[test]
    fn a_text_that_is_too_long_names_the_option_that_helps() {
        let input = InputError::TooLong {
            seq_len: 5000,
            n_positions: 1024,
        };
        let generation = GenerationError::Input(input.clone());
        for error in [
            input.into(),
            anyhow::Error::from(generation).context("row 3"),
        ] {
            assert!(explain(&error).contains("convert --model MODEL --positions 5000"));
        }
    }
}
