//! Arms on the command line.

use std::str::FromStr;
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use bsbr_attention::{ArmConfig, ArmError, split_arms};
use bsbr_report::spec::ArmSpec;

/// Descriptions of the arms' settings.
const SETTINGS: &str = "
chunk_size: tokens per chunk
near_chunks: earlier chunks that are attended to exactly
sink_tokens: first tokens that every token attends to exactly
clusters: clusters per far chunk, a power of two
exact_clusters: clusters whose tokens each query attends to exactly; 0 for summaries only
kv_bits: bits of far keys and values; for dense, of all keys and values: 4, 8, 16 or 32
state: whether each far chunk keeps a state, the covariance of keys and values in its clusters
compression: factor by which states are compressed
learned: whether the arm has parameters that only training sets
levels: how far each head looks: near, clusters or lookups, with + between heads
span: far chunks whose clusters are merged into as many as a chunk has; 0 for none
opened: merged clusters that each query replaces by their clusters";

/// The help of an option for an arm: every setting, and the defaults.
pub static HELP: LazyLock<String> = LazyLock::new(|| {
    let mut help =
        "The arm (kind of attention) of the converted layers: a name, and settings that \
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

/// Arms separated by commas.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmList(Vec<ListedArm>);

/// An arm by its id in the file of arms, or an arm with settings.
#[derive(Debug, Clone, PartialEq)]
enum ListedArm {
    Id(String),
    Arm(ArmConfig),
}

impl FromStr for ArmList {
    type Err = ArmError;

    fn from_str(text: &str) -> Result<Self, ArmError> {
        let arm = |item: &str| match item.contains(':') {
            true => item.parse().map(ListedArm::Arm),
            false => Ok(ListedArm::Id(item.to_owned())),
        };
        split_arms(text)
            .into_iter()
            .map(arm)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl ArmList {
    /// The arms of these ids.
    pub fn of_ids(ids: &[&str]) -> Self {
        Self(ids.iter().map(|&id| ListedArm::Id(id.to_owned())).collect())
    }

    /// The arms, of which `known` have ids. Another id must be the name of an arm without settings.
    ///
    /// # Errors
    ///
    /// The unknown id.
    pub fn specs(&self, known: &[ArmSpec]) -> Result<Vec<ArmSpec>> {
        let spec = |arm: &ListedArm| match arm {
            ListedArm::Arm(config) => Ok(ArmSpec::of(&config.to_string(), config.clone())),
            ListedArm::Id(id) => match known.iter().find(|arm| arm.id == *id) {
                Some(arm) => Ok(arm.clone()),
                None => {
                    let ids = known.iter().map(|arm| arm.id.as_str());
                    let known: Vec<&str> = ids.chain(ArmConfig::NAMES).collect();
                    let unknown = || anyhow!("unknown arm {id}; known names: {}", known.join(", "));
                    let config = ArmConfig::named(id).ok_or_else(unknown)?;
                    Ok(ArmSpec::of(id, config))
                }
            },
        };
        self.0.iter().map(spec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_with_their_arm() -> Result<()> {
        let text =
            "dense, moments:clusters=4,kv_bits=4,local:chunk_size=64,near_chunks=2,dense-8bit";
        let known = [ArmSpec::of("dense-8bit", "dense:kv_bits=8".parse()?)];
        let found = text.parse::<ArmList>()?.specs(&known)?;
        let ids: Vec<&str> = found.iter().map(|arm| arm.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "dense",
                "moments:clusters=4,kv_bits=4",
                "local:chunk_size=64,near_chunks=2",
                "dense-8bit"
            ]
        );
        assert_eq!(found[3].config, known[0].config);
        assert!("dense,moments:clusters=x".parse::<ArmList>().is_err());
        let error = "dens".parse::<ArmList>()?.specs(&known).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown arm dens; known names: dense-8bit, dense, local, published, moments"
        );
        Ok(())
    }

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
