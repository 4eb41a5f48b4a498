//! Templates: text with placeholders in braces.
//!
//! | in braces | replaced by |
//! |---|---|
//! | `settings.NAME`, `counts.NAME` | the value; several as `1, 2 and 3` |
//! | `counts.NAME text` | `1 text`, `2 texts` |
//! | `max settings.NAME` | the largest of several |
//! | `at` | the length of the block's values |
//! | `value`, `value text` | the value of a repeated table |
//! | `domains` | the names of the domains |
//! | anything else | the experiment's own value |

use crate::experiment::Experiment;
use crate::record::Records;
use crate::spec::Method;
use crate::style::grouped;

/// The value of a repeated table.
pub(super) const VALUE: &str = "value";

/// Names that every specification may use; some stand for a part of their own block.
pub(super) const COMMON: [&str; 5] = ["", "at", "domains", "row", "part"];

/// The names in a template.
pub(super) fn names(template: &str) -> impl Iterator<Item = &str> {
    let parts = template.split('{').skip(1);
    parts.filter_map(|part| Some(part.split_once('}')?.0))
}

/// The values of templates.
pub(super) struct Words<'a> {
    pub method: &'a Method,
    pub records: &'a Records,
    pub experiment: &'a dyn Experiment,
    /// The length of the block's values.
    pub at: usize,
    /// The value of a repeated table.
    pub value: Option<usize>,
}

impl Words<'_> {
    /// The filled template; placeholders without a value are removed.
    pub fn fill(&self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, from)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, after)) = from.split_once('}') else {
                return out + "{" + from;
            };
            out.push_str(&self.word(name).unwrap_or_default());
            rest = after;
        }
        out + rest
    }

    fn word(&self, name: &str) -> Option<String> {
        match name {
            "at" => return Some(grouped(self.at as u64)),
            "domains" => return Some(self.records.domains().join(", ")),
            // Filled later.
            "" | "row" => return Some(format!("{{{name}}}")),
            _ => {}
        }
        if let Some(several) = name.strip_prefix("max ") {
            let most = values(self.method, several.split_once('.')?.1)?
                .into_iter()
                .max();
            return most.map(|most| grouped(most as u64));
        }
        let (path, noun) = match name.split_once(' ') {
            Some((path, noun)) => (path, Some(noun)),
            None => (name, None),
        };
        let value = self.value.filter(|_| path == VALUE);
        let value = value.and_then(|value| i64::try_from(value).ok());
        let value = value.map(toml::Value::Integer);
        let known = match path.split_once('.') {
            Some(("settings", key)) => self.method.settings.get(key),
            Some(("counts", key)) => self.method.counts.get(key),
            _ => value.as_ref(),
        };
        match (known, noun) {
            (Some(value), Some(noun)) => Some(plural(value.as_integer()?.unsigned_abs(), noun)),
            (Some(value), None) => Some(written(value)),
            (None, _) => self.experiment.word(name, self.records),
        }
    }
}

/// A value as text.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::Array(all) => {
            let all: Vec<String> = all.iter().map(written).collect();
            listed(&all)
        }
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Integer(number) => {
            u64::try_from(*number).map_or_else(|_| number.to_string(), grouped)
        }
        toml::Value::Boolean(is) => is.to_string(),
        toml::Value::Datetime(_) | toml::Value::Table(_) => String::new(),
    }
}

/// The value of a setting.
pub(super) fn setting(method: &Method, name: &str) -> Option<usize> {
    usize::try_from(method.settings.get(name)?.as_integer()?).ok()
}

/// The values of a setting or count with several values.
pub(super) fn values(method: &Method, name: &str) -> Option<Vec<usize>> {
    let found = method.settings.get(name).or(method.counts.get(name))?;
    let all = found.as_array()?.iter();
    all.map(|one| usize::try_from(one.as_integer()?).ok())
        .collect()
}

/// Whether a setting exists and is not empty.
pub(super) fn is_set(method: &Method, name: &str) -> bool {
    match method.settings.get(name).or(method.counts.get(name)) {
        None => false,
        Some(toml::Value::Array(all)) => !all.is_empty(),
        Some(_) => true,
    }
}

/// `1 text`, `2 texts`, `2 passes`.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let ending = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{} {noun}{ending}", grouped(count))
}

/// `a, b and c`
pub(crate) fn listed<T: ToString>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// 8192 as 8k, 1536 as 1.5k.
pub(crate) fn short_length(length: usize) -> String {
    match length {
        0 => "0".to_owned(),
        _ if length.is_multiple_of(1024) => format!("{}k", length / 1024),
        1025.. if length.is_multiple_of(512) => format!("{}.5k", length / 1024),
        _ => length.to_string(),
    }
}

/// Text with a capital letter.
pub(crate) fn capital(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|one| one.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_read_well() {
        assert_eq!(plural(1, "text"), "1 text");
        assert_eq!(plural(2, "pass"), "2 passes");
        assert_eq!(listed(&[1, 2, 3]), "1, 2 and 3");
        assert_eq!(listed(&[1]), "1");
        assert_eq!(
            [128, 1024, 1536, 8192].map(short_length),
            ["128", "1k", "1.5k", "8k"]
        );
        assert_eq!(capital("one"), "One");
    }
}
