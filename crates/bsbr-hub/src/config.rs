//! Settings, and their environment variables.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::HubError;

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";
const RETRIES: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(20);
const UNSIZED_LIMIT: u64 = 64 << 20;

/// A secret for authentication. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token from its text; `None` for blank text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The secret.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The source of files, the cache, and limits of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubConfig {
    /// Address of the Hub or of a mirror. Default: `https://huggingface.co`.
    pub endpoint: String,
    /// The cache, shared with other tools that use the Hub's layout.
    pub cache: PathBuf,
    /// Sent only to the endpoint. Default: none.
    pub token: Option<Token>,
    /// Whether only the cache is used. Default: no.
    pub offline: bool,
    /// The maximum number of consecutive retries, for temporary failures without progress. Default:
    /// 4.
    pub retries: u32,
    /// The delay before the first retry; it doubles up to 30 s. Default: 0.5 s.
    pub backoff: Duration,
    /// The timeout of a connection, of a response, and of further bytes. Default: 20 s.
    pub timeout: Duration,
    /// The size limit in bytes of a file whose size no server announces. The Hub announces that of
    /// every large file. Default: 64 MiB.
    pub unsized_limit: u64,
    /// Whether to use the proxy of `HTTPS_PROXY` and similar variables, and `NO_PROXY`. Default:
    /// no; yes in [`HubConfig::from_env`].
    pub proxy_from_env: bool,
}

impl HubConfig {
    /// The Hub with this cache, and defaults for all other settings. Does not read the environment.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            retries: RETRIES,
            backoff: BACKOFF,
            timeout: TIMEOUT,
            unsized_limit: UNSIZED_LIMIT,
            proxy_from_env: false,
        }
    }

    /// The settings of the environment and the saved token, as in `huggingface_hub`.
    ///
    /// | setting | from |
    /// |---|---|
    /// | `endpoint` | `HF_ENDPOINT` |
    /// | `cache` | `HF_HUB_CACHE` or `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub`, else `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub` |
    /// | `token` | `HF_TOKEN` or `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else `token` in the home of the cache; none with `HF_HUB_DISABLE_IMPLICIT_TOKEN` |
    /// | `offline` | `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`: `1`, `true`, `yes` or `on` |
    /// | `timeout` | `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds |
    ///
    /// In paths, a leading `~` is the home folder, and `$NAME` and `${NAME}` are other variables,
    /// if they exist.
    ///
    /// # Errors
    ///
    /// [`HubError::NoCacheFolder`] if there is no home folder either, and
    /// [`HubError::InvalidSetting`] for an invalid value.
    pub fn from_env() -> Result<Self, HubError> {
        let mut config = Self::from_vars(|name| env::var_os(name))?;
        config.proxy_from_env = true;
        Ok(config)
    }

    /// [`HubConfig::from_env`] with the environment of `variable`, without a proxy.
    ///
    /// # Errors
    ///
    /// The errors of [`HubConfig::from_env`].
    pub fn from_vars(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, HubError> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let user = value("HOME")
            .or_else(|| value("USERPROFILE"))
            .map(PathBuf::from);
        let folder = |name: &str| {
            let path = value(name).map(|path| with_home(Path::new(&path), user.as_deref()))?;
            Some(match path.to_str() {
                Some(text) => PathBuf::from(with_variables(text, &variable)),
                // Names of variables are plain text, and only those are looked up.
                None => path,
            })
        };
        let is_true = |name: &'static str| -> Result<bool, HubError> {
            let yes = ["1", "true", "yes", "on"];
            let value = text(name, value(name))?.unwrap_or_default();
            Ok(yes.contains(&value.trim().to_lowercase().as_str()))
        };

        let home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| {
                user.as_ref()
                    .map(|user| user.join(".cache").join("huggingface"))
            });
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;

        let mut config = Self::new(cache);
        if let Some(endpoint) = text("HF_ENDPOINT", value("HF_ENDPOINT"))? {
            config.endpoint = endpoint.trim_end_matches('/').to_owned();
        }
        let given = match text("HF_TOKEN", value("HF_TOKEN"))? {
            Some(token) => Some(token),
            None => text("HUGGING_FACE_HUB_TOKEN", value("HUGGING_FACE_HUB_TOKEN"))?,
        };
        config.token = match given {
            _ if is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")? => None,
            Some(token) => Token::new(&token),
            None => folder("HF_TOKEN_PATH")
                .or_else(|| home.map(|home| home.join("token")))
                .and_then(|path| std::fs::read_to_string(path).ok())
                .and_then(|token| Token::new(&token)),
        };
        config.offline = match value("HF_HUB_OFFLINE") {
            Some(_) => is_true("HF_HUB_OFFLINE")?,
            None => is_true("TRANSFORMERS_OFFLINE")?,
        };
        if let Some(seconds) = text("HF_HUB_DOWNLOAD_TIMEOUT", value("HF_HUB_DOWNLOAD_TIMEOUT"))? {
            let whole = seconds
                .trim()
                .parse()
                .ok()
                .filter(|&seconds: &u64| seconds > 0);
            config.timeout =
                Duration::from_secs(whole.ok_or_else(|| HubError::InvalidSetting {
                    setting: "HF_HUB_DOWNLOAD_TIMEOUT",
                    value: seconds,
                    expected: "a number of seconds above zero",
                })?);
        }
        Ok(config)
    }
}

fn text(name: &'static str, value: Option<OsString>) -> Result<Option<String>, HubError> {
    value
        .map(|value| {
            value
                .into_string()
                .map_err(|value| HubError::InvalidSetting {
                    setting: name,
                    // Without the value itself, which may be a token.
                    value: format!("{} bytes", value.len()),
                    expected: "text in UTF-8",
                })
        })
        .transpose()
}

/// A leading `~`, expanded as in a shell.
fn with_home(path: &Path, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path.to_owned(),
    }
}

/// `$NAME` and `${NAME}`, replaced by the variables' values; unknown variables are unchanged.
fn with_variables(text: &str, variable: &impl Fn(&str) -> Option<OsString>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        expanded.push_str(before);
        let after = &from[1..];
        let (name, length) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((name, _)) => (name, name.len() + 3),
            None => {
                let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
                let end = after.find(|char| !is_name(char)).unwrap_or(after.len());
                (&after[..end], end + 1)
            }
        };
        let value = (!name.is_empty()).then(|| variable(name)).flatten();
        match value.and_then(|value| value.into_string().ok()) {
            Some(value) => expanded.push_str(&value),
            None => expanded.push_str(&from[..length]),
        }
        rest = &from[length..];
    }
    expanded.push_str(rest);
    expanded
}
