//! The text form of arms, such as `moments:exact_clusters=4,kv_bits=4`: a name and the settings
//! that differ from the default.

use std::fmt;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::{
    ArmConfig, DenseConfig, HeadLevel, KvBits, LocalConfig, MomentsConfig, PublishedConfig,
};
use crate::error::ArmError;

/// The value of a setting.
trait Value {
    /// Parses `text`, or returns a description of the accepted values.
    fn read(&mut self, text: &str) -> Result<(), &'static str>;

    /// The text form of the value.
    fn text(&self) -> String;
}

impl Value for usize {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        *self = text.parse().map_err(|_| "a whole number")?;
        Ok(())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        *self = text.parse().map_err(|_| "true or false")?;
        Ok(())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for KvBits {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let bits = text.parse::<usize>().ok();
        let bits = bits.and_then(|bits| Self::try_from(bits).ok());
        *self = bits.ok_or("4, 8, 16 or 32")?;
        Ok(())
    }

    fn text(&self) -> String {
        self.bits().to_string()
    }
}

/// A level for each head, separated by `+`.
impl Value for Vec<HeadLevel> {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let level = |name| LEVELS.iter().find(|(one, _)| *one == name);
        let levels = text.split('+').map(|name| Some(level(name)?.1));
        let levels = levels.collect::<Option<_>>();
        *self = levels.ok_or("near, clusters or lookups for each head, as in near+lookups")?;
        Ok(())
    }

    fn text(&self) -> String {
        let name = |level: &HeadLevel| LEVELS.iter().find(|(_, one)| one == level);
        let names = self.iter().filter_map(name).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join("+")
    }
}

const LEVELS: [(&str, HeadLevel); 3] = [
    ("near", HeadLevel::Near),
    ("clusters", HeadLevel::Clusters),
    ("lookups", HeadLevel::Lookups),
];

impl ArmConfig {
    /// The names of all arms.
    pub const NAMES: [&'static str; 4] = ["dense", "local", "published", "moments"];

    /// The arm of this name, with default settings.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dense" => Self::DENSE,
            "local" => Self::Local(LocalConfig::default()),
            "published" => Self::Published(PublishedConfig::default()),
            "moments" => Self::Moments(MomentsConfig::default()),
            _ => return None,
        })
    }

    /// Every setting's name and value, as text.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut arm = self.clone();
        let values = arm.values().into_iter();
        values.map(|(name, value)| (name, value.text())).collect()
    }

    /// Parses the value of a setting, and returns the setting's name.
    ///
    /// # Errors
    ///
    /// [`ArmError`] if the arm has no such setting, or the value is invalid.
    pub fn set(&mut self, setting: &str, value: &str) -> Result<&'static str, ArmError> {
        let arm = self.name();
        let mut values = self.values();
        let Some((name, field)) = values.iter_mut().find(|(name, _)| *name == setting) else {
            let known: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            return Err(ArmError::NoSuchSetting {
                arm,
                setting: setting.into(),
                known: known.join(", "),
            });
        };
        let name = *name;
        match field.read(value) {
            Ok(()) => Ok(name),
            Err(expected) => Err(ArmError::Value {
                arm,
                setting: name,
                found: value.into(),
                expected,
            }),
        }
    }

    /// Every setting, by its name.
    fn values(&mut self) -> Vec<(&'static str, &mut dyn Value)> {
        match self {
            Self::Dense(DenseConfig { kv_bits }) => vec![("kv_bits", kv_bits)],
            Self::Local(LocalConfig {
                chunk_size,
                near_chunks,
                sink_tokens,
            }) => vec![
                ("chunk_size", chunk_size),
                ("near_chunks", near_chunks),
                ("sink_tokens", sink_tokens),
            ],
            Self::Published(PublishedConfig {
                chunk_size,
                compression,
            }) => vec![("chunk_size", chunk_size), ("compression", compression)],
            Self::Moments(MomentsConfig {
                chunk_size,
                near_chunks,
                sink_tokens,
                clusters,
                state,
                exact_clusters,
                compression,
                learned,
                kv_bits,
                levels,
                span,
                opened,
            }) => vec![
                ("chunk_size", chunk_size),
                ("near_chunks", near_chunks),
                ("sink_tokens", sink_tokens),
                ("clusters", clusters),
                ("exact_clusters", exact_clusters),
                ("kv_bits", kv_bits),
                ("state", state),
                ("compression", compression),
                ("learned", learned),
                ("levels", levels),
                ("span", span),
                ("opened", opened),
            ],
        }
    }
}

/// The name, then a colon and the settings that differ from the default, separated by commas.
///
/// [`validate`](ArmConfig::validate) checks bounds, because it knows the heads.
///
/// # Example
///
/// ```
/// use bsbr_attention::{ArmConfig, MomentsConfig};
///
/// let arm: ArmConfig = "moments:kv_bits=8,exact_clusters=4".parse()?;
/// let config = MomentsConfig { exact_clusters: 4, ..MomentsConfig::default() };
/// assert_eq!(arm, ArmConfig::Moments(config));
/// // Eight bits are the default.
/// assert_eq!(arm.to_string(), "moments:exact_clusters=4");
/// # Ok::<(), bsbr_attention::ArmError>(())
/// ```
impl FromStr for ArmConfig {
    type Err = ArmError;

    fn from_str(text: &str) -> Result<Self, ArmError> {
        let (name, settings) = match text.split_once(':') {
            Some((name, settings)) => (name, Some(settings)),
            None => (text, None),
        };
        let name = name.trim();
        let mut arm = Self::named(name).ok_or_else(|| ArmError::Unknown { name: name.into() })?;
        let mut seen = Vec::new();
        for part in settings
            .into_iter()
            .flat_map(|settings| settings.split(','))
        {
            let (setting, value) = part.split_once('=').ok_or_else(|| ArmError::Syntax {
                arm: arm.name(),
                part: part.into(),
            })?;
            let setting = arm.set(setting.trim(), value.trim())?;
            if seen.contains(&setting) {
                let arm = arm.name();
                return Err(ArmError::Twice { arm, setting });
            }
            seen.push(setting);
        }
        Ok(arm)
    }
}

impl fmt::Display for ArmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let default = Self::named(self.name()).map(|arm| arm.settings());
        let default = default.unwrap_or_default();
        let changed = self.settings().into_iter().zip(default);
        let changed = changed.filter(|(own, default)| own != default);
        for (number, ((name, value), _)) in changed.enumerate() {
            let before = if number == 0 { ':' } else { ',' };
            write!(f, "{before}{name}={value}")?;
        }
        Ok(())
    }
}

/// The items of a list with arms, such as `dense,moments:exact_clusters=4,kv_bits=4`: commas
/// separate the items, and also the settings of an arm, which follow its colon. A setting begins
/// with a letter, and has the form `name=value`.
pub fn split_arms(list: &str) -> Vec<&str> {
    let is_setting = |piece: &str| {
        let name = piece.split_once('=').map(|(name, _)| name.trim_start());
        name.is_some_and(|name| name.starts_with(char::is_alphabetic) && !name.contains(':'))
    };
    let (mut items, mut start) = (Vec::new(), 0);
    for (comma, _) in list.match_indices(',') {
        let (item, next) = (&list[start..comma], &list[comma + 1..]);
        let next = next.split(',').next().unwrap_or(next);
        if !(item.contains(':') && is_setting(next)) {
            items.push(item.trim());
            start = comma + 1;
        }
    }
    items.push(list[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

/// Reads an arm from its text, or from a tagged object as in `config.json`: for
/// `#[serde(deserialize_with = "bsbr_attention::arm_or_text")]`.
///
/// Settings that the text does not name have their defaults. Fields that an object does not name
/// have the values that older files imply.
///
/// # Errors
///
/// Errors in the text or the object.
pub fn arm_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<ArmConfig, D::Error> {
    from.deserialize_any(Form)
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = ArmConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an arm, such as \"moments:exact_clusters=4\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ArmConfig, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ArmConfig, A::Error> {
        ArmConfig::deserialize(MapAccessDeserializer::new(map))
    }
}
