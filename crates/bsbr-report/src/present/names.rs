//! The names in a specification's presentation.

use toml::Value;

use crate::present::words;
use crate::spec::Method;

/// The names that a specification may use of its experiment, by the key that they stand at: sources of
/// measurements other than texts at `from`, the experiment's own blocks at `name` and its own lists at
/// `rows` and `lines`, settings that may be absent at `when`, and its own values in templates at `{}`.
pub type Names = &'static [(&'static str, &'static [&'static str])];

/// Checks the names in a part of a specification, whose key is `key`.
///
/// # Errors
///
/// The unknown name, and the known ones.
pub(crate) fn check(names: Names, key: &str, part: &Value, method: &Method) -> Result<(), String> {
    let text = match part {
        Value::Table(all) => {
            let own = all.get("id").and_then(Value::as_str);
            let mut all = all.iter();
            let checked = all.try_for_each(|(key, part)| check(names, key, part, method));
            return checked.map_err(|message| match own {
                Some(id) => format!("`{id}`: {message}"),
                None => message,
            });
        }
        Value::Array(all) => {
            let mut all = all.iter();
            return all.try_for_each(|part| check(names, key, part, method));
        }
        Value::String(text) => text.as_str(),
        _ => return Ok(()),
    };
    let own = |key| own(names, key);
    let one_of = |name, own: &[&str], known: &[&str]| one_of(key, name, &[own, known].concat());
    let (settings, counts) = (&method.settings, &method.counts);
    let both = |lists| keys(&[settings, counts], lists);
    let list = text.strip_prefix("max ").or(text.strip_prefix("first "));
    match (key, list) {
        ("from", _) => source(names, text),
        ("at", Some(list)) => one_of(list, &[], &both(true)),
        ("at", None) => one_of(text, &["recorded"], &keys(&[settings], false)),
        ("by", _) => one_of(text, &["domains", "parts"], &both(true)),
        ("each", _) => one_of(text, &[], &both(true)),
        ("when", _) => one_of(text, own(key), &both(false)),
        ("rows" | "lines" | "name", _) => one_of(text, &[], own(key)),
        _ => words::names(text).try_for_each(|name| {
            let path = name.strip_prefix("max ").unwrap_or(name);
            let path = path.split(' ').next().unwrap_or_default();
            match path.split_once('.') {
                Some(("settings", key)) => one_of(key, own("when"), &keys(&[settings], false)),
                Some(("counts", key)) => one_of(key, &[], &keys(&[counts], false)),
                _ if path == words::VALUE => Ok(()),
                _ => one_of(name, &words::COMMON, own("{}")),
            }
        }),
    }
}

/// Checks the name of a source of measurements.
///
/// # Errors
///
/// The unknown name, and the known ones.
pub(crate) fn source(names: Names, name: &str) -> Result<(), String> {
    one_of("from", name, &[&["texts"], own(names, "from")].concat())
}

fn own(names: Names, key: &str) -> &'static [&'static str] {
    let found = names.iter().find(|(known, _)| *known == key);
    found.map_or(&[], |(_, own)| own)
}

fn one_of(key: &str, name: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&name) {
        return Ok(());
    }
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    Err(format!(
        "`{name}` is not a known value of `{key}`; there are {known}"
    ))
}

/// The keys of tables, or of their `lists`.
fn keys<'a>(tables: &[&'a toml::Table], lists: bool) -> Vec<&'a str> {
    let all = tables.iter().flat_map(|table| table.iter());
    let all = all.filter(|(_, value)| value.is_array() || !lists);
    all.map(|(name, _)| name.as_str()).collect()
}
