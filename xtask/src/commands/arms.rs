//! How arms are typed.

use std::sync::LazyLock;

use bsbr_attention::ArmConfig;

/// The help of an option that takes an arm: every setting with its default.
pub static HELP: LazyLock<String> = LazyLock::new(|| {
    let mut help =
        "The attention that replaces softmax over all tokens: a name, and settings that \
                    differ from the default, as in moments:exact_clusters=4,kv_bits=4. The \
                    defaults are"
            .to_owned();
    for name in ArmConfig::NAMES {
        let settings = ArmConfig::named(name).map(|arm| arm.settings());
        let settings = settings.unwrap_or_default().into_iter();
        // A list without anything in it is one that was not given.
        let given = settings.filter(|(_, value)| !value.is_empty());
        let given: Vec<String> = given
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        help += &format!("\n{name}:{}", given.join(","));
    }
    help
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_the_defaults_in_the_form_that_is_typed() {
        for line in HELP.lines().skip(1) {
            let arm: ArmConfig = line.parse().expect("an arm");
            assert_eq!(Some(&arm), ArmConfig::named(arm.name()).as_ref());
        }
        assert_eq!(HELP.lines().count(), 1 + ArmConfig::NAMES.len());
    }
}
