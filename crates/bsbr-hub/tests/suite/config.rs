//! Settings from a simulated environment.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use bsbr_hub::{HubConfig, HubError, Token};

fn from(variables: &[(&str, &str)]) -> Result<HubConfig, HubError> {
    HubConfig::from_vars(|name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    assert_eq!(
        from(&[("HOME", "/home/me")]).unwrap(),
        HubConfig::new("/home/me/.cache/huggingface/hub")
    );
    let error = from(&[]).unwrap_err();
    assert!(error.to_string().contains("HF_HUB_CACHE"), "{error}");
}

#[test]
fn the_cache_is_where_other_tools_have_theirs() {
    let all = [
        ("HF_HUB_CACHE", "/a"),
        ("HF_HOME", "/b"),
        ("XDG_CACHE_HOME", "/c"),
        ("HOME", "/d"),
        ("USERPROFILE", "/e"),
    ];
    let expected = [
        "/a",
        "/b/hub",
        "/c/huggingface/hub",
        "/d/.cache/huggingface/hub",
        "/e/.cache/huggingface/hub",
    ];
    for (from_here, expected) in expected.iter().enumerate() {
        assert_eq!(from(&all[from_here..]).unwrap().cache, Path::new(expected));
    }
    let config = from(&[("HF_HOME", "~/hf"), ("HOME", "/d")]).unwrap();
    assert_eq!(config.cache, Path::new("/d/hf/hub"));
}

/// As Python joins paths: a variable that is set to nothing is a path, the current folder.
#[test]
fn an_empty_folder_is_the_current_one() {
    for (name, expected) in [
        ("HF_HUB_CACHE", "."),
        ("HUGGINGFACE_HUB_CACHE", "."),
        ("HF_HOME", "./hub"),
        ("XDG_CACHE_HOME", "./huggingface/hub"),
    ] {
        let config = from(&[(name, ""), ("HOME", "/d")]).unwrap();
        assert_eq!(config.cache, Path::new(expected), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_named_user_has_a_home_in_the_list_of_users() {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let root = users
        .lines()
        .find(|line| line.starts_with("root:"))
        .unwrap();
    let home = Path::new(root.split(':').nth(5).unwrap());
    let cache = |value: &str| {
        let variables = [("HF_HUB_CACHE", value), ("HOME", "/d")];
        from(&variables).unwrap().cache
    };
    assert_eq!(cache("~root/hub"), home.join("hub"));
    assert_eq!(cache("~root"), home);
    assert_eq!(cache("~no such user/hub"), Path::new("~no such user/hub"));
    assert_eq!(cache("/a/~root"), Path::new("/a/~root"));
}

/// The right values are those of Python's `os.path.expandvars` and `expanduser`.
#[test]
fn variables_in_folders_are_expanded() {
    for (value, expected) in [
        ("$DISK/hub", "/mnt/hub"),
        ("${DISK}x/hub", "/mntx/hub"),
        ("$DISK$DISK", "/mnt/mnt"),
        ("~/$SUB/hub", "/d/s u b/hub"),
        ("$NONE/hub", "$NONE/hub"),
        ("${NONE}/$", "${NONE}/$"),
        ("${DISK/hub", "${DISK/hub"),
        ("/a~/$DISK", "/a~//mnt"),
        ("$DISKS", "$DISKS"),
        ("/\u{fc}$DISK\u{fc}", "/\u{fc}/mnt\u{fc}"),
        ("${}/$$DISK", "${}/$/mnt"),
    ] {
        let variables = [("DISK", "/mnt"), ("SUB", "s u b"), ("HOME", "/d")];
        for (name, below) in [
            ("HF_HUB_CACHE", ""),
            ("HF_HOME", "/hub"),
            ("XDG_CACHE_HOME", "/huggingface/hub"),
        ] {
            let all = [&variables[..], &[(name, value)]].concat();
            let expected = format!("{expected}{below}");
            assert_eq!(
                from(&all).unwrap().cache,
                Path::new(&expected),
                "{name}={value}"
            );
        }
    }
}

#[test]
fn old_names_count_where_the_new_ones_are_not_set() {
    let old = [
        ("HUGGINGFACE_HUB_CACHE", "/old"),
        ("HUGGING_FACE_HUB_TOKEN", "hf_old"),
        ("TRANSFORMERS_OFFLINE", "1"),
        ("HF_ENDPOINT", "https://mirror.example//"),
    ];
    let config = from(&old).unwrap();
    assert_eq!(config.cache, Path::new("/old"));
    assert_eq!(config.token, Token::new("hf_old"));
    assert!(config.offline);
    assert_eq!(config.endpoint, "https://mirror.example");
    let new = [
        ("HF_HUB_CACHE", "/new"),
        ("HF_TOKEN", "hf_new"),
        ("HF_HUB_OFFLINE", "0"),
    ];
    let config = from(&[&old[..], &new].concat()).unwrap();
    assert_eq!(config.cache, Path::new("/new"));
    assert_eq!(config.token, Token::new("hf_new"));
    assert!(!config.offline);
    let silent = [("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
    assert_eq!(from(&[&old[..], &silent].concat()).unwrap().token, None);
}

#[test]
fn the_token_is_given_or_saved() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let other = folder.path().join("other");
    let other = other.to_str().unwrap();
    assert_eq!(from(&[("HF_HOME", home)]).unwrap().token, None);
    std::fs::write(folder.path().join("token"), "hf_saved\n").unwrap();
    std::fs::write(other, "hf_other").unwrap();

    assert_eq!(
        from(&[("HF_HOME", home)]).unwrap().token,
        Token::new("hf_saved")
    );
    let config = from(&[("HF_HOME", home), ("HF_TOKEN_PATH", other)]).unwrap();
    assert_eq!(config.token, Token::new("hf_other"));
    let config = from(&[("HF_HOME", home), ("HF_TOKEN", " hf_given ")]).unwrap();
    assert_eq!(config.token, Token::new("hf_given"));
    assert!(!format!("{config:?}").contains("given"));
    // Line ends within it are none of its own.
    let config = from(&[("HF_HOME", home), ("HF_TOKEN", "hf_\r\ngiven\n")]).unwrap();
    assert_eq!(config.token, Token::new("hf_given"));
    // A blank token is none, but it hides the one of the old name; an empty one is not set.
    for (value, expected) in [(" \n", "hf_saved"), ("", "hf_old")] {
        let old = ("HUGGING_FACE_HUB_TOKEN", "hf_old");
        let config = from(&[("HF_HOME", home), ("HF_TOKEN", value), old]).unwrap();
        assert_eq!(config.token, Token::new(expected), "{value:?}");
    }
    // The saved token is at home, wherever the cache is.
    let config = from(&[("HF_HOME", home), ("HF_HUB_CACHE", "/a")]).unwrap();
    assert_eq!(config.token, Token::new("hf_saved"));
}

#[test]
fn offline_is_what_says_yes() {
    for (value, expected) in [
        ("1", true),
        ("true", true),
        ("YES", true),
        ("On", true),
        ("0", false),
        ("false", false),
        (" 1", false),
        ("true ", false),
        ("", false),
    ] {
        let config = from(&[("HOME", "/d"), ("HF_HUB_OFFLINE", value)]).unwrap();
        assert_eq!(config.offline, expected, "{value}");
    }
    // An empty one leaves the decision to the other.
    let both = [("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "1")];
    assert!(
        from(&[&both[..], &[("HOME", "/d")]].concat())
            .unwrap()
            .offline
    );
}

#[test]
fn the_rest() {
    let config = from(&[
        ("HOME", "/d"),
        ("HF_ENDPOINT", "https://mirror.example"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "60"),
    ])
    .unwrap();
    assert_eq!(config.endpoint, "https://mirror.example");
    assert_eq!(config.timeout, Duration::from_secs(60));
    assert_eq!(config.etag_timeout, Duration::from_secs(10));
}

/// The numbers are those of Python's `int`; zero counts as not set.
#[test]
fn timeouts_are_whole_seconds() {
    for name in ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"] {
        let found = |value: &str| {
            let config = from(&[("HOME", "/d"), (name, value)])?;
            let (own, other) = match name {
                "HF_HUB_ETAG_TIMEOUT" => (config.etag_timeout, config.timeout),
                _ => (config.timeout, config.etag_timeout),
            };
            assert_eq!(other, Duration::from_secs(10), "{name}={value}");
            Ok::<_, HubError>(own.as_secs())
        };
        for (value, expected) in [
            ("", 10),
            ("0", 10),
            ("00", 10),
            ("7", 7),
            (" +60\n", 60),
            ("1_000", 1000),
        ] {
            assert_eq!(found(value).unwrap(), expected, "{name}={value}");
        }
        for value in ["soon", "-1", "1.5", "1__0", "_1", " ", "+"] {
            let error = found(value).unwrap_err();
            assert!(
                matches!(&error, HubError::InvalidSetting { setting, value: v, .. }
                    if *setting == name && v == value),
                "{error}"
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_not_shown() {
    use std::os::unix::ffi::OsStringExt;
    let error = HubConfig::from_vars(|name| match name {
        "HF_TOKEN" => Some(OsString::from_vec(b"hf_\xff".to_vec())),
        _ => Some("/d".into()),
    })
    .unwrap_err();
    assert!(matches!(
        &error,
        HubError::InvalidSetting {
            setting: "HF_TOKEN",
            ..
        }
    ));
    assert!(!error.to_string().contains("hf_"), "{error}");
}
