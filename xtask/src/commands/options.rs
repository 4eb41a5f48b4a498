//! Every option of every command changes the command's resulting settings.
//!
//! An option that is parsed and has no effect would silently give a wrong number, or another run
//! than the requested one.

use std::ffi::OsString;

use clap::{Arg, Args, Command, Error};

/// Values of options without a list of values. Each option accepts one that is not its default.
const VALUES: [&str; 8] = [
    "{question}?",
    "9",
    "0.1",
    "local",
    "0-5=dense",
    "hierarchical",
    "::1",
    "127.0.0.1:7",
];

/// The arguments of a command line.
pub fn parsed<A: Args>(words: &[&str]) -> A {
    try_parsed(words).unwrap_or_else(|error| panic!("{error}"))
}

fn try_parsed<A: Args, W>(words: impl IntoIterator<Item = W>) -> Result<A, Error>
where
    W: Into<OsString> + Clone,
{
    let command = A::augment_args(Command::new("command").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// Checks that each option of `A` changes the settings of one of the command lines: with some value,
/// added to the line or in place of its own.
pub fn check<A: Args>(lines: &[&str], settings: impl Fn(&A) -> String) {
    let command = A::augment_args(Command::new("command"));
    for option in command.get_arguments() {
        let counts = lines.iter().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let before = settings(&parsed(&words));
            values(option).iter().any(|value| {
                let after = try_parsed(with(&words, option, value));
                after.is_ok_and(|after| settings(&after) != before)
            })
        });
        assert!(counts, "--{} changes nothing", option.get_id());
    }
}

/// Values to try; none for a flag.
fn values(option: &Arg) -> Vec<Option<String>> {
    let known = option.get_possible_values();
    match (option.get_action().takes_values(), known.is_empty()) {
        (false, _) => vec![None],
        (true, true) => VALUES.map(|value| Some(value.to_owned())).into(),
        (true, false) => known
            .iter()
            .map(|one| Some(one.get_name().to_owned()))
            .collect(),
    }
}

/// A command line with an option. A positional argument is the last word.
fn with(words: &[&str], option: &Arg, value: &Option<String>) -> Vec<String> {
    let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let name = option.get_long().map(|long| format!("--{long}"));
    let place = match &name {
        Some(name) => words.iter().position(|word| word == name).map(|at| at + 1),
        None => words.len().checked_sub(1),
    };
    match (place, value) {
        (Some(place), Some(value)) => words[place].clone_from(value),
        _ => words.extend(name.into_iter().chain(value.clone())),
    }
    words
}
