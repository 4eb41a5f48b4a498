//! The text form of conversion plans.

use bsbr_attention::ArmError;
use bsbr_convert::{ConversionPlan, PlanError};
use bsbr_gpt2::Gpt2Config;

fn names(plan: &str, layers: Option<&str>, n_layer: usize) -> Vec<&'static str> {
    ConversionPlan::parse(plan, layers)
        .unwrap()
        .arms(n_layer)
        .unwrap()
        .iter()
        .map(|arm| arm.name())
        .collect()
}

fn error(plan: &str, layers: Option<&str>) -> PlanError {
    ConversionPlan::parse(plan, layers)
        .and_then(|plan| plan.arms(12))
        .unwrap_err()
}

#[test]
fn one_arm_serves_all_layers_but_exceptions() {
    assert_eq!(names("moments", None, 2), ["moments", "moments"]);
    assert_eq!(
        names("dense", Some("1-2=local, 4=published"), 5),
        ["dense", "local", "local", "dense", "published"]
    );
    assert_eq!(names("local", Some(""), 1), ["local"]);
}

#[test]
fn the_last_arm_that_a_layer_is_given_counts() {
    use bsbr_convert::ArmConfig;
    let plan = ConversionPlan::parse("dense", Some("0-1=published")).unwrap();
    let local = ConversionPlan::parse("local", None)
        .unwrap()
        .arms(1)
        .unwrap();
    let plan = plan
        .with_layer(1, local[0].clone())
        .with_layer(2, local[0].clone())
        .with_layer(2, ArmConfig::DENSE);
    let arms = plan.arms(3).unwrap();
    let names: Vec<&str> = arms.iter().map(ArmConfig::name).collect();
    assert_eq!(names, ["published", "local", "dense"]);
    let error = plan.with_layer(3, ArmConfig::DENSE).arms(3).unwrap_err();
    assert_eq!(error, PlanError::NoSuchLayer { layer: 3, last: 2 });
}

#[test]
fn exceptions_have_settings_of_their_own() {
    use bsbr_convert::ArmConfig;
    let arm = |text: &str| text.parse::<ArmConfig>().unwrap();
    let base = "moments:chunk_size=64,clusters=16";
    let layers = "1-2=moments:clusters=4,kv_bits=4,3=local,4=local:sink_tokens=0,near_chunks=2";
    let arms = ConversionPlan::parse(base, Some(layers)).unwrap().arms(5);
    let expected = [
        base,
        "moments:clusters=4,kv_bits=4",
        "moments:clusters=4,kv_bits=4",
        "local",
        "local:near_chunks=2,sink_tokens=0",
    ];
    assert_eq!(arms.unwrap(), expected.map(arm));
}

#[test]
fn plans_that_cannot_be_followed_say_why() {
    let syntax = |layers: &str| match error("dense", Some(layers)) {
        PlanError::Syntax { part } => part,
        other => panic!("{other:?}"),
    };
    assert_eq!(syntax("0-5"), "0-5");
    assert_eq!(syntax("1=local,x=local"), "x=local");
    assert_eq!(syntax("-1=local"), "-1=local");
    assert_eq!(syntax("1-=local"), "1-=local");
    assert_eq!(syntax("1-2-3=local"), "1-2-3=local");
    assert_eq!(
        syntax("99999999999999999999=local"),
        "99999999999999999999=local"
    );
    assert!(matches!(
        error("dense", Some("5-3=local")),
        PlanError::Reversed {
            first: 5,
            last: 3,
            ..
        }
    ));
    assert_eq!(
        error("dense", Some("0-5=local,3-9=moments")),
        PlanError::Twice { layer: 3 }
    );
    assert_eq!(
        error("dense", Some("6-12=local")),
        PlanError::NoSuchLayer {
            layer: 12,
            last: 11
        }
    );
    let unknown = |name: &str| PlanError::Arm(ArmError::Unknown { name: name.into() });
    assert_eq!(error("sparse", None), unknown("sparse"));
    assert_eq!(error("dense", Some("1=")), unknown(""));
    let clusters = error("dense", Some("0=dense,1=local:clusters=2"));
    assert!(matches!(
        clusters,
        PlanError::Arm(ArmError::NoSuchSetting { .. })
    ));
}

#[test]
fn a_plan_of_no_layers_names_none() {
    let plan = ConversionPlan::uniform(Gpt2Config::default().arm(0));
    assert!(plan.arms(0).unwrap().is_empty());
}
