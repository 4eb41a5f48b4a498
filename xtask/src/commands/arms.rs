//! Arms on the command line.

use std::sync::LazyLock;

use bsbr_attention::ArmConfig;

/// Descriptions of the arms' settings.
const SETTINGS: &str = "
chunk_size: tokens per chunk
near_chunks: chunks before the own one that are attended to exactly
sink_tokens: first tokens that every token attends to exactly
clusters: clusters per far chunk, a power of two
exact_clusters: clusters whose tokens each query attends to exactly; 0 for summaries only
kv_bits: bits of far keys and values, or with dense of all: 4, 8, 16 or 32
state: whether each far chunk keeps a state, the covariance of keys and values in its clusters
compression: factor by which states are compressed
learned: whether the arm has parameters that only training sets
levels: how far each head looks: near, clusters or lookups, with + between heads
span: far chunks whose clusters are merged into as many as a chunk has; 0 for none
opened: merged clusters that each query replaces by their clusters";

/// The help of an option for an arm: every setting, and the defaults.
pub static HELP: LazyLock<String> = LazyLock::new(|| {
    let mut help =
        "The attention that replaces softmax over all tokens: a name, and settings that \
                    differ from the default, as in moments:exact_clusters=4,kv_bits=4\n\nThe \
                    defaults:"
            .to_owned();
    for name in ArmConfig::NAMES {
        let settings = ArmConfig::named(name).map(|arm| arm.settings());
        let settings = settings.unwrap_or_default().into_iter();
        // An empty list means that the setting was not given.
        let given = settings.filter(|(_, value)| !value.is_empty());
        let given: Vec<String> = given
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        help += &format!("\n{name}:{}", given.join(","));
    }
    help += "\n\nThe settings:";
    help += SETTINGS;
    help
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_the_defaults_in_the_form_that_is_typed() {
        for name in ArmConfig::NAMES {
            let begins = |line: &&str| line.starts_with(&format!("{name}:"));
            let line = HELP.lines().find(begins).expect("a line of its own");
            let arm: ArmConfig = line.parse().expect("an arm");
            assert_eq!(Some(&arm), ArmConfig::named(name).as_ref());
        }
    }

    #[test]
    fn the_help_says_what_each_setting_is() {
        let arms = ArmConfig::NAMES.map(|name| ArmConfig::named(name).expect("an arm"));
        let mut names: Vec<&str> = arms
            .iter()
            .flat_map(ArmConfig::settings)
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names.dedup();
        let lines = SETTINGS.lines();
        let mut described: Vec<&str> = lines
            .filter_map(|line| Some(line.split_once(':')?.0))
            .collect();
        described.sort_unstable();
        assert_eq!(names, described);
    }
}
