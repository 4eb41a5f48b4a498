//! Settings, and their environment variables.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::HubError;

/// The timeout of every request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A secret for authentication. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token from its text; `None` for blank text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.replace(['\r', '\n'], "");
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
    /// The timeout of a connection, of a response, and of further bytes. Default: 10 s.
    pub timeout: Duration,
    /// The same for requests that only ask which files there are, and which of their versions.
    /// Default: 10 s.
    pub etag_timeout: Duration,
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
            endpoint: "https://huggingface.co".to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            retries: 4,
            backoff: Duration::from_millis(500),
            timeout: TIMEOUT,
            etag_timeout: TIMEOUT,
            unsized_limit: 64 << 20,
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
    /// | `timeout` | `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds; 0 is the default |
    /// | `etag_timeout` | `HF_HUB_ETAG_TIMEOUT`, in seconds; 0 is the default |
    ///
    /// In paths, a leading `~` is the home folder, `~name` that of a user in `/etc/passwd`, and
    /// `$NAME` and `${NAME}` are other variables, if they exist. An empty path is the current
    /// folder. A blank token is none, but an empty variable is not set.
    ///
    /// # Errors
    ///
    /// [`HubError::NoCacheFolder`] if there is no home folder either, and
    /// [`HubError::InvalidSetting`] for an invalid value.
    pub fn from_env() -> Result<Self, HubError> {
        // Without `HOME`, the system's list of users has the home folder.
        let home = || env::home_dir().map(PathBuf::into_os_string);
        let mut config = Self::from_vars(|name| match name {
            "HOME" => env::var_os(name).or_else(home),
            name => env::var_os(name),
        })?;
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
        let text = |setting: &'static str| {
            let text = value(setting).map(OsString::into_string).transpose();
            text.map_err(|value| HubError::InvalidSetting {
                setting,
                // Without the value itself, which may be a token.
                value: format!("{} bytes", value.len()),
                expected: "text in UTF-8",
            })
        };
        let is_true = |setting: &'static str| -> Result<bool, HubError> {
            let value = text(setting)?.unwrap_or_default().to_lowercase();
            Ok(["1", "true", "yes", "on"].contains(&value.as_str()))
        };
        let seconds = |setting: &'static str| -> Result<Duration, HubError> {
            let value = text(setting)?.unwrap_or("0".to_owned());
            match whole_number(&value) {
                Some(0) => Ok(TIMEOUT),
                Some(seconds) => Ok(Duration::from_secs(seconds)),
                None => Err(HubError::InvalidSetting {
                    setting,
                    value,
                    expected: "a whole number of seconds",
                }),
            }
        };
        let user = value("HOME").or_else(|| value("USERPROFILE"));
        let user = user.map(PathBuf::from);
        let folder = |name: &str| {
            let path = with_home(Path::new(&variable(name)?), user.as_deref());
            Some(match path.to_str() {
                Some("") => PathBuf::from("."),
                Some(text) => PathBuf::from(with_variables(text, &variable)),
                // Names of variables are plain text, and only those are looked up.
                None => path,
            })
        };

        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user.as_ref()?.join(".cache").join("huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;

        let mut config = Self::new(cache);
        if let Some(endpoint) = text("HF_ENDPOINT")? {
            config.endpoint = endpoint.trim_end_matches('/').to_owned();
        }
        let given = match text("HF_TOKEN")? {
            None => text("HUGGING_FACE_HUB_TOKEN")?,
            given => given,
        };
        let saved = || {
            let path = folder("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")))?;
            Token::new(&std::fs::read_to_string(path).ok()?)
        };
        if !is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
            config.token = given.and_then(|token| Token::new(&token)).or_else(saved);
        }
        config.offline = match value("HF_HUB_OFFLINE") {
            Some(_) => is_true("HF_HUB_OFFLINE")?,
            None => is_true("TRANSFORMERS_OFFLINE")?,
        };
        config.timeout = seconds("HF_HUB_DOWNLOAD_TIMEOUT")?;
        config.etag_timeout = seconds("HF_HUB_ETAG_TIMEOUT")?;
        Ok(config)
    }
}

/// A number from zero on in a form that Python's `int` reads: also with blanks around it, a plus
/// sign, or single underscores between digits.
fn whole_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = |group: &str| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit());
    match digits.split('_').all(is_number) {
        true => digits.replace('_', "").parse().ok(),
        false => None,
    }
}

/// A leading `~` or `~name`, expanded as in a shell.
fn with_home(path: &Path, user: Option<&Path>) -> PathBuf {
    let mut parts = path.components();
    let first = parts.next().and_then(|first| first.as_os_str().to_str());
    let home = match first.and_then(|first| first.strip_prefix('~')) {
        None => None,
        Some("") => user.map(Path::to_owned),
        Some(name) => home_of(name),
    };
    match home {
        Some(home) => home.join(parts.as_path()),
        None => path.to_owned(),
    }
}

/// The home folder of a user, by the system's list of users.
fn home_of(user: &str) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().map(|line| line.split(':'));
    let mut own = fields.find_map(|mut fields| (fields.next() == Some(user)).then_some(fields))?;
    // The name is followed by the password, two numbers, a description and the folder.
    own.nth(4).map(PathBuf::from)
}

/// `$NAME` and `${NAME}`, replaced by the variables' values; unknown variables are unchanged.
fn with_variables(text: &str, variable: &impl Fn(&str) -> Option<OsString>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let braced = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        let (name, end) = braced.unwrap_or_else(|| {
            let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
            let end = after.trim_start_matches(is_name);
            after.split_at(after.len() - end.len())
        });
        let value = variable(name).and_then(|value| value.into_string().ok());
        expanded.push_str(before);
        match value.filter(|_| !name.is_empty()) {
            Some(value) => expanded.push_str(&value),
            None => expanded.push_str(&rest[before.len()..rest.len() - end.len()]),
        }
        rest = end;
    }
    expanded + rest
}
