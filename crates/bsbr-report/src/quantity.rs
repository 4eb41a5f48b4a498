//! Quantities of experiments, by their names in records.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use crate::section::Better;
use crate::style::Style;

/// The part of a declared name that matches any part, such as a layer's number.
const ANY: &str = "*";

/// A quantity in tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// Its column title.
    pub title: String,
    /// Its format.
    pub style: Style,
    /// Which direction is better.
    #[serde(default)]
    pub better: Option<Better>,
    /// Its name on the cards of models, if they show it.
    #[serde(default)]
    pub card: Option<String>,
}

/// The declared quantities of an experiment. Names consist of parts joined by dots; a `*`
/// matches any one part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Quantities(BTreeMap<String, Quantity>);

impl Quantities {
    /// The quantity of that name.
    ///
    /// # Errors
    ///
    /// The declared names, if it is not declared.
    pub fn find(&self, name: &str) -> Result<&Quantity, String> {
        let exact = self.0.get(name);
        let like = || self.0.iter().find(|(declared, _)| is_like(declared, name));
        exact.or_else(|| like().map(|(_, one)| one)).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("`{name}` is not a quantity; there are {}", known.join(", "))
        })
    }

    /// Checks that the quantities in a part of a file are declared; `key` is the part's key.
    ///
    /// # Errors
    ///
    /// The undeclared name, and the declared ones.
    pub(crate) fn check(&self, key: &str, part: &Value) -> Result<(), String> {
        match part {
            Value::Table(all) => {
                let mut all = all.iter();
                all.try_for_each(|(key, part)| self.check(key, part))
            }
            Value::Array(all) => all.iter().try_for_each(|part| self.check(key, part)),
            Value::String(name) if ["quantity", "share_of", "columns"].contains(&key) => {
                self.find(name).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// The names of the quantities on cards in records and on the card, and their formats.
    pub(crate) fn on_cards(&self) -> impl Iterator<Item = (&str, &str, Style)> {
        let all = self.0.iter();
        all.filter_map(|(name, one)| Some((name.as_str(), one.card.as_deref()?, one.style)))
    }

    /// The declared names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Whether a name matches a declared one; a `*` also matches itself.
fn is_like(declared: &str, name: &str) -> bool {
    let (mut declared, mut name) = (declared.split('.'), name.split('.'));
    loop {
        match (declared.next(), name.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == ANY || one == other => {}
            _ => return false,
        }
    }
}

/// The part that matches the first `*` of a declared name; `None` if the name does not match.
pub(crate) fn part<'a>(declared: &str, name: &'a str) -> Option<&'a str> {
    let place = declared.split('.').position(|one| one == ANY)?;
    is_like(declared, name).then(|| name.split('.').nth(place))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_parts() {
        let all: Quantities = toml::from_str(
            "\"kl\" = { title = \"KL\", style = \"digits 3\", better = \"less\" }\n\
             \"layer.*.kl\" = { title = \"KL of a layer\", style = \"digits 3\" }",
        )
        .unwrap();
        assert_eq!(all.find("kl").unwrap().better, Some(Better::Less));
        assert_eq!(all.find("layer.03.kl").unwrap().title, "KL of a layer");
        assert_eq!(all.find("layer.*.kl").unwrap().title, "KL of a layer");
        assert_eq!(part("layer.*.kl", "layer.03.kl"), Some("03"));
        assert_eq!(part("layer.*.kl", "layer.03.top1"), None);
        for unknown in ["k", "layer.kl", "layer.03.kl.low", "top1"] {
            assert!(all.find(unknown).is_err(), "{unknown}");
        }
    }
}
