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

/// Convert a GPT-2 to BSBR attention for long texts; run, measure and train it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Declares the commands, each with the module that has its arguments, its function and a check of
/// its options.
macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident = $module:ident,)*) => {
        /// The help of a command is that of its arguments: a comment on it would replace that.
        #[derive(Subcommand)]
        enum Command {
            $($(#[$meta])* $name(commands::$module::Args),)*
        }

        impl Command {
            fn run(self) -> anyhow::Result<()> {
                match self {
                    $(Self::$name(args) => commands::$module::run(args),)*
                }
            }
        }

        /// Check that every option of a command has an effect.
        #[cfg(test)]
        const CHECKS: &[fn()] = &[$(commands::$module::tests::every_option_counts),*];
    };
}

commands! {
    Ask = ask,
    Bench = bench,
    Completions = completions,
    Convert = convert,
    Evaluate = evaluate,
    Finetune = finetune,
    #[command(hide = true)]
    FirstToken = first_token,
    Generate = generate,
    Judge = judge,
    Logits = logits,
    Man = man,
    #[command(hide = true)]
    MemoryCell = memory_cell,
    Pretrain = pretrain,
    Reproduce = reproduce,
    ServeDevice = serve_device,
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
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command.run() {
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
        for name in "bench evaluate judge logits pretrain reproduce".split(' ') {
            let command = cli.find_subcommand(name).unwrap();
            let [short, long] = [command.get_about(), command.get_long_about()]
                .map(|help| help.map(ToString::to_string).unwrap_or_default());
            assert!(long.len() > short.len(), "{name}: {long}");
        }
    }

    #[test]
    fn every_option_of_every_command_counts() {
        super::CHECKS.iter().for_each(|check| check());
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
