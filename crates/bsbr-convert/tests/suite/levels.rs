//! The choice of the level of each head.

use bsbr_attention::{ArmConfig, HeadLevel};
use bsbr_convert::{
    ConversionPlan, LongText, choose_far_heads, choose_levels, convert, sweep_levels,
};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::{Device, Tensor};

/// A model of random weights, two layers of four heads, of which head 1 of layer 0 attends by
/// content: its queries and keys are large.
fn model() -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 31, "n_positions": 96, "n_embd": 16, "n_layer": 2, "n_head": 4}"#,
    )
    .unwrap();
    let mut model = Gpt2::init(&config, 3, &Device::default()).unwrap();
    for block in &mut model.h {
        let weight = block.attn.c_attn.weight.val() * 12.0;
        block.attn.c_attn.weight = burn::module::Param::from_tensor(weight);
    }
    let plan = "moments:chunk_size=8,clusters=2,exact_clusters=1,sink_tokens=1";
    convert(model, &ConversionPlan::parse(plan, None).unwrap()).unwrap()
}

fn text() -> Vec<TokenBatch> {
    let ids: Vec<u32> = (0..90).map(|i| (i * i * 7 + i * 3) % 31).collect();
    vec![
        TokenBatch::single(&ids).unwrap(),
        TokenBatch::padded(&[ids[..40].to_vec(), ids[10..80].to_vec()]).unwrap(),
    ]
}

fn levels(model: &Gpt2) -> Vec<HeadLevel> {
    let of_layer = |layer: usize| match model.config().arm(layer) {
        ArmConfig::Moments(config) if !config.levels.is_empty() => config.levels,
        _ => vec![HeadLevel::Lookups; 4],
    };
    (0..2).flat_map(of_layer).collect()
}

#[test]
fn a_budget_is_kept_and_used() {
    let mut before = 0;
    for budget in [0.0, 1e-3, 1e-2, f64::MAX] {
        let mut passes = 0;
        let (model, chosen) = choose_levels(model(), &text(), budget, |done, of| {
            passes += 1;
            assert_eq!(done, passes);
            assert!(done <= of);
        })
        .unwrap();
        assert!(chosen.kl_after <= chosen.kl_before + budget, "{chosen:?}");
        assert_eq!(levels(&model), chosen.levels.concat());
        let less = levels(&model)
            .iter()
            .filter(|level| **level < HeadLevel::Lookups)
            .count();
        assert!(
            less >= before,
            "{less} heads look less far at {budget}, {before} before"
        );
        before = less;
        // The saved configuration says it, and what is computed is what was measured.
        let again = model.hidden_states(&text()[0]).unwrap();
        assert!(again.to_data().iter::<f32>().all(f32::is_finite));
    }
    assert_eq!(
        before, 8,
        "without a limit every head sees its near field alone"
    );
}

/// Several budgets at once give what each gives alone.
#[test]
fn budgets_of_a_sweep_are_kept_alone() {
    let budgets = [1e-2, 0.0, 1e-3, f64::MAX];
    let swept = sweep_levels(model(), &text(), &budgets).unwrap();
    assert_eq!(swept.len(), budgets.len());
    for (budget, (found, chosen)) in budgets.into_iter().zip(swept) {
        let (_, alone) = choose_levels(model(), &text(), budget, |_, _| {}).unwrap();
        assert_eq!(chosen, alone, "{budget}");
        assert_eq!(levels(&found), chosen.levels.concat());
    }
}

/// With more budget the model comes to be the local one.
#[test]
fn without_a_limit_the_model_is_local() {
    let (near, _) = choose_levels(model(), &text(), f64::MAX, |_, _| {}).unwrap();
    let plan = ConversionPlan::parse("local:chunk_size=8,sink_tokens=1", None).unwrap();
    let local = convert(model(), &plan).unwrap();
    let of = |model: &Gpt2| -> Tensor<3> { model.hidden_states(&text()[0]).unwrap() };
    let error = (of(&near) - of(&local)).abs().max().into_scalar::<f32>();
    assert!(error < 1e-5, "{error}");
}

#[test]
fn layers_of_other_arms_are_left_alone() {
    let plan = "moments:chunk_size=8,clusters=2,exact_clusters=1";
    let plan = ConversionPlan::parse(plan, Some("0=dense")).unwrap();
    let mixed = convert(model(), &plan).unwrap();
    let (found, chosen) = choose_levels(mixed, &text(), f64::MAX, |_, _| {}).unwrap();
    assert_eq!(found.config().arm(0), ArmConfig::DENSE);
    assert_eq!(chosen.levels[0], []);
    assert_eq!(chosen.levels[1], [HeadLevel::Near; 4]);
}

/// Texts whose second half repeats their first, so that far tokens say what comes.
fn long_texts() -> Vec<LongText> {
    (0..2)
        .map(|text| {
            let half = (0..45).map(|i| (i * i * 7 + i * 3 + text) % 31);
            LongText {
                ids: half.clone().chain(half).collect(),
                far: (0..89).map(|at| at >= 45).collect(),
            }
        })
        .collect()
}

/// Each far head lowers the loss by at least the required amount; if that is large, there are none.
#[test]
fn heads_look_far_that_lower_the_loss_beyond_the_trained_positions() {
    let mut before = usize::MAX;
    for least in [0.0, 1e-3, 1e-2, f64::MAX] {
        let mut passes = 0;
        let (found, chosen) = choose_far_heads(model(), &long_texts(), 40, least, |done, of| {
            passes += 1;
            assert!(done == passes && done <= of);
        })
        .unwrap();
        assert_eq!(levels(&found), chosen.levels.concat());
        let of_level = |level| levels(&found).iter().filter(|of| **of == level).count();
        let far = of_level(HeadLevel::Lookups);
        assert_eq!(far + of_level(HeadLevel::Near), 8);
        let gain = (chosen.near.all + chosen.near.far) - (chosen.chosen.all + chosen.chosen.far);
        assert!(
            gain >= far as f64 * least.min(1.0),
            "{far} heads: {chosen:?}"
        );
        assert!(far <= before, "{far} heads at {least}, {before} before");
        before = far;
    }
    assert_eq!(before, 0);
    let chosen = |texts: &[LongText], trained| {
        choose_far_heads(model(), texts, trained, 1e-3, |_, _| {})
            .unwrap()
            .1
    };
    assert!(
        chosen(&long_texts(), 40)
            .levels
            .concat()
            .contains(&HeadLevel::Lookups)
    );
    // Texts that end within the trained positions say nothing.
    let nothing = chosen(&long_texts(), 89);
    assert_eq!(nothing.levels.concat(), [HeadLevel::Near; 8]);
    assert_eq!((nothing.far.all, nothing.chosen.far), (0.0, 0.0));
}

#[test]
fn layers_of_other_arms_look_as_they_did() {
    let plan = "moments:chunk_size=8,clusters=2,exact_clusters=1";
    let plan = ConversionPlan::parse(plan, Some("0=dense")).unwrap();
    let mixed = convert(model(), &plan).unwrap();
    let (found, chosen) = choose_far_heads(mixed, &long_texts(), 40, f64::MAX, |_, _| {}).unwrap();
    assert_eq!(found.config().arm(0), ArmConfig::DENSE);
    assert_eq!(chosen.levels[0], []);
    assert_eq!(chosen.levels[1], [HeadLevel::Near; 4]);
}
