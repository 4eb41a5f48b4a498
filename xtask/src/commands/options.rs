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

/// Checks that each option of `A` has a case, and that its value changes the settings. `base` has
/// the required options with their values.
pub fn check<A: Args>(base: &[(&str, &str)], cases: &[Case], settings: impl Fn(&A) -> String) {
    let command = A::augment_args(Command::new("command"));
    let of = |words: &[&str]| {
        let words = std::iter::once("command").chain(words.iter().copied());
        let matches = command.clone().try_get_matches_from(words);
        let matches = matches.unwrap_or_else(|error| panic!("{error}"));
        settings(&A::from_arg_matches(&matches).unwrap_or_else(|error| panic!("{error}")))
    };
    let mut left: BTreeSet<&str> = command
        .get_arguments()
        .map(|option| option.get_long().unwrap_or(option.get_id().as_str()))
        .collect();
    for (option, beside, value) in cases {
        assert!(left.remove(option), "--{option} is none, or has two cases");
        let own = format!("--{option}");
        let mut before: Vec<&str> = beside.to_vec();
        let names: Vec<String> = base.iter().map(|(name, _)| format!("--{name}")).collect();
        for ((name, value), word) in base.iter().zip(&names) {
            if name != option {
                before.extend([word.as_str(), *value]);
            }
        }
        let mut after = before.clone();
        after.push(&own);
        after.extend(*value);
        // A required option is present before too, with another value.
        if let (Some((_, known)), true) = (
            base.iter().find(|(name, _)| name == option),
            !value.is_empty(),
        ) {
            before.extend([own.as_str(), *known]);
        }
        assert_ne!(of(&before), of(&after), "--{option} changes nothing");
    }
    assert!(left.is_empty(), "options without a case: {left:?}");
}
