//! Every option of every command changes the command's resulting settings.
//!
//! An option that is parsed and has no effect would silently give a wrong number, or another run
//! than the requested one.

use std::collections::BTreeSet;

use clap::{Args, Command};

/// An option, the options it is combined with, and its value.
pub type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// The arguments of a command line.
pub fn parsed<A: Args>(words: &[&str]) -> A {
    let words = std::iter::once("command").chain(words.iter().copied());
    let command = A::augment_args(Command::new("command"));
    let found = command.try_get_matches_from(words);
    let found = found.and_then(|matches| A::from_arg_matches(&matches));
    found.unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that each option of `A` has a case, and that its value changes the settings. `base` has
/// the required options with their values.
pub fn check<A: Args>(base: &[(&str, &str)], cases: &[Case], settings: impl Fn(&A) -> String) {
    check_but(base, cases, &[], settings);
}

/// The same without options that replace one of `base` and are checked elsewhere.
pub fn check_but<A: Args>(
    base: &[(&str, &str)],
    cases: &[Case],
    instead: &[&str],
    settings: impl Fn(&A) -> String,
) {
    let command = A::augment_args(Command::new("command"));
    let of = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        settings(&parsed(&words))
    };
    // Positional arguments have no name.
    let name_of = |option: &str| {
        let own = command
            .get_arguments()
            .find(|own| own.get_id() == option && own.get_long().is_none());
        let is_placed = own.is_some_and(clap::Arg::is_positional);
        (!is_placed).then(|| format!("--{option}"))
    };
    let mut left: BTreeSet<&str> = command
        .get_arguments()
        .map(|option| option.get_long().unwrap_or(option.get_id().as_str()))
        .filter(|option| !instead.contains(option))
        .collect();
    for (option, beside, value) in cases {
        assert!(left.remove(option), "--{option} is none, or has two cases");
        let mut before: Vec<String> = beside.iter().map(ToString::to_string).collect();
        for (name, value) in base.iter().filter(|(name, _)| name != option) {
            before.extend(name_of(name));
            before.push(value.to_string());
        }
        let mut after = before.clone();
        after.extend(name_of(option));
        after.extend(value.iter().map(ToString::to_string));
        // A required option is present before too, with another value.
        if let (Some((_, known)), true) = (
            base.iter().find(|(name, _)| name == option),
            !value.is_empty(),
        ) {
            before.extend(name_of(option));
            before.push(known.to_string());
        }
        assert_ne!(of(&before), of(&after), "--{option} changes nothing");
    }
    assert!(left.is_empty(), "options without a case: {left:?}");
}
