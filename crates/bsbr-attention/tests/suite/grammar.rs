//! The text form of arms.

use bsbr_attention::{
    ArmConfig, ArmError, ConfigError, HeadLevel, HeadShape, KvBits, LocalConfig, MomentsConfig,
    arm_or_text,
};

#[test]
fn a_text_is_the_arm_and_the_arm_its_text() {
    let moments = MomentsConfig::default;
    let cases = [
        ("dense", ArmConfig::DENSE),
        ("local", ArmConfig::Local(LocalConfig::default())),
        ("moments", ArmConfig::Moments(moments())),
        (
            "moments:chunk_size=64,exact_clusters=4,kv_bits=4",
            ArmConfig::Moments(MomentsConfig {
                chunk_size: 64,
                exact_clusters: 4,
                kv_bits: KvBits::Four,
                ..moments()
            }),
        ),
        (
            "moments:state=true,levels=near+lookups+clusters",
            ArmConfig::Moments(MomentsConfig {
                state: true,
                levels: vec![HeadLevel::Near, HeadLevel::Lookups, HeadLevel::Clusters],
                ..moments()
            }),
        ),
        (
            "moments:span=16,opened=4",
            ArmConfig::Moments(MomentsConfig {
                span: 16,
                opened: 4,
                ..moments()
            }),
        ),
        (
            "local:chunk_size=1,near_chunks=0,sink_tokens=0",
            ArmConfig::Local(LocalConfig {
                chunk_size: 1,
                near_chunks: 0,
                sink_tokens: 0,
            }),
        ),
    ];
    for (text, arm) in cases {
        assert_eq!(text.parse(), Ok(arm.clone()), "{text}");
        assert_eq!(arm.to_string(), text);
    }
    for name in ArmConfig::NAMES {
        let arm = ArmConfig::named(name).unwrap();
        assert_eq!((arm.name(), arm.to_string()), (name, name.to_owned()));
        // What is written in full is the same.
        let settings: Vec<String> = arm
            .settings()
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(setting, value)| format!("{setting}={value}"))
            .collect();
        assert_eq!(format!("{name}:{}", settings.join(",")).parse(), Ok(arm));
    }
    let spaces = " moments : clusters = 4 , kv_bits = 32 ";
    let tight = "moments:clusters=4,kv_bits=32";
    assert_eq!(spaces.parse::<ArmConfig>(), tight.parse());
}

/// Every setting of the files has one of the same name here.
#[test]
fn settings_have_the_names_of_the_files() {
    for name in ArmConfig::NAMES {
        let arm = ArmConfig::named(name).unwrap();
        let json = serde_json::to_value(&arm).unwrap();
        let names: Vec<&str> = arm.settings().into_iter().map(|(name, _)| name).collect();
        for key in json.as_object().unwrap().keys().filter(|key| *key != "arm") {
            assert!(names.contains(&key.as_str()), "{name}: {key}");
        }
    }
}

/// Files of arms without spans are those of earlier versions.
#[test]
fn spans_that_are_off_are_not_written() {
    let json = |config: MomentsConfig| serde_json::to_value(ArmConfig::Moments(config)).unwrap();
    let off = json(MomentsConfig::default());
    assert!(off.get("span").is_none() && off.get("opened").is_none());
    for opened in [4, 8] {
        let spans = MomentsConfig {
            span: 16,
            opened,
            ..MomentsConfig::default()
        };
        let read = arm_or_text(json(spans.clone())).unwrap();
        assert_eq!(read, ArmConfig::Moments(spans));
    }
}

#[test]
fn settings_of_spans_are_checked() {
    let shape = HeadShape {
        num_heads: 1,
        head_dim: 4,
        hidden_size: 4,
    };
    let check = |text: &str| text.parse::<ArmConfig>().unwrap().validate(shape);
    assert_eq!(check("moments:span=1"), Ok(()));
    assert_eq!(check("moments:span=16,opened=0"), Ok(()));
    assert_eq!(
        check("moments:opened=4"),
        Err(ConfigError::OpenedWithoutSpan { opened: 4 })
    );
    for (text, name) in [
        ("span=99999999", "span"),
        ("span=1,opened=99999999", "opened"),
    ] {
        let error = check(&format!("moments:{text}")).unwrap_err();
        assert!(
            matches!(error, ConfigError::OutOfBounds { setting, .. } if setting == name),
            "{error}"
        );
    }
}

#[test]
fn errors_name_the_setting_the_value_and_what_is_allowed() {
    for (text, parts) in [
        ("sparse", vec!["`sparse`", "dense", "moments"]),
        ("", vec!["``", "dense"]),
        ("moments:", vec!["moments", "setting=value"]),
        ("moments:chunk_size", vec!["`chunk_size`", "setting=value"]),
        ("moments:clusters=4,", vec!["``", "setting=value"]),
        (
            "moments:chunks=2",
            vec!["`chunks`", "chunk_size, near_chunks"],
        ),
        (
            "dense:chunk_size=2",
            vec!["dense", "`chunk_size`", "kv_bits"],
        ),
        ("moments:arm=1", vec!["`arm`"]),
        (
            "moments:chunk_size=two",
            vec!["`chunk_size`", "`two`", "a whole number"],
        ),
        ("moments:chunk_size=-1", vec!["`-1`", "a whole number"]),
        ("moments:state=1", vec!["`state`", "`1`", "true or false"]),
        (
            "moments:kv_bits=5",
            vec!["`kv_bits`", "`5`", "4, 8, 16 or 32"],
        ),
        (
            "moments:levels=near+far",
            vec!["`levels`", "near+far", "lookups"],
        ),
        ("moments:clusters=4,clusters=4", vec!["`clusters`", "twice"]),
        (
            "moments:chunk_size=16:clusters=4",
            vec!["`chunk_size`", "`16:clusters=4`"],
        ),
    ] {
        let error = text.parse::<ArmConfig>().unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{text}: {error}");
        }
    }
    let mut arm = ArmConfig::DENSE;
    let error = arm.set("clusters", "4").unwrap_err();
    assert!(matches!(
        error,
        ArmError::NoSuchSetting { arm: "dense", .. }
    ));
    assert_eq!(arm.set("kv_bits", "8"), Ok("kv_bits"));
    assert_eq!(arm.to_string(), "dense:kv_bits=8");
}

#[test]
fn files_may_have_the_text_or_the_object() {
    let read = |json: serde_json::Value| arm_or_text(json).map_err(|error| error.to_string());
    let object = serde_json::json!({"arm": "moments", "clusters": 4, "kv_bits": 8});
    assert_eq!(read("moments:clusters=4".into()), read(object));
    // An object of an older file, which knew no bits.
    let old = serde_json::json!({"arm": "moments", "clusters": 4});
    assert_eq!(read(old), read("moments:clusters=4,kv_bits=32".into()));
    // What conversion wrote while summaries with a state were the default.
    let old = serde_json::json!({
        "arm": "moments", "chunk_size": 128, "near_chunks": 1, "sink_tokens": 4, "clusters": 8,
        "state": true, "exact_clusters": 0, "compression": 1
    });
    let summaries = ArmConfig::Moments(MomentsConfig::summaries());
    assert_eq!(read(old), Ok(summaries));
    for (json, part) in [
        ("moments:chunks=2".into(), "`chunks`"),
        (serde_json::json!({"arm": "moments", "chunks": 2}), "chunks"),
        (serde_json::json!(7), "an arm"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
