//! Density: the definition of an arm gives the shares counted by hand.

use bsbr_gpt2::Gpt2;
use bsbr_report::experiments;
use bsbr_report::record::Measurement;

use crate::definitions::{holds, mean, taken, weights};
use crate::tiny;

pub const DENSITY: &str = r#"
experiment = "density"
title = "Density"
question = "How dense?"
order = 1
seed = 1
arms = ["dense", "moments", "summaries", "local", "published"]
chunk_size = 16
[settings]
lengths = [12, 80, 200]
threshold = 0.01
rows = 8
[counts]
texts = 5
"#;

/// What each query of an arm may see: the tokens that it scores one by one, and the clusters.
fn scored(arm: &str, query: usize) -> (Vec<usize>, usize) {
    // Two sinks, chunks of 16, of which the one before is near; 4 clusters of each before that.
    let own = 2 + query.saturating_sub(2) / 16 * 16;
    let near = own.saturating_sub(16).max(2);
    let tokens = (0..=query).filter(|&at| at < 2 || at >= near);
    let clusters = match arm {
        "summaries" => (near - 2) / 16 * 4,
        _ => 0,
    };
    (tokens.collect(), clusters)
}

/// `above` and `effective` of a layer, from what each token's output takes from each value.
fn spread(model: &Gpt2, ids: &[u32], layer: usize) -> [f64; 2] {
    let weights = weights(model, ids, layer, taken);
    let tokens = ids.len();
    let mut found = Vec::new();
    // Eight queries, evenly spread, with the last.
    for (head, query) in
        (0..2).flat_map(|head| (1..=8).map(move |part| (head, part * tokens / 8 - 1)))
    {
        let start = (head * tokens + query) * tokens;
        let row = weights[start..=start + query].iter().map(|&x| f64::from(x));
        let seen = (query + 1) as f64;
        let above = row.clone().filter(|&weight| weight > 0.01).count() as f64 / seen;
        let entropy = -row.filter(|&x| x > 0.0).map(|x| x * x.ln()).sum::<f64>();
        found.push([above, entropy.exp() / seen]);
    }
    [0, 1].map(|place| mean(found.iter().map(|one| one[place])))
}

#[test]
fn shares_are_those_of_the_definition() {
    let (lab, spec) = (tiny::lab(), tiny::spec(DENSITY));
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    assert_eq!(units.len(), 15, "five domains at three lengths");
    let all: Vec<Measurement> = units
        .iter()
        .filter(|unit| unit.source == "tale")
        .flat_map(|unit| experiment.run_unit(unit, &lab).unwrap())
        .collect();
    let of = |arm: &str, length: usize| {
        all.iter()
            .find(|one| one.arm == arm && one.length == length)
            .unwrap()
    };
    for arm in &spec.method.arms {
        let reason = &of(&arm.id, 200).missing["*"];
        assert!(reason.contains("96"), "{reason}");
        for length in [12, 80] {
            let values = &of(&arm.id, length).values;
            let dense = (length * (length + 1)) as f64 / 2.0;
            // How many tokens are looked up depends on the sizes of a layer's clusters.
            if arm.id != "moments" {
                let expected = arm.config.exact_pairs(length) / dense;
                assert!((values["exact"] - expected).abs() < 1e-6, "{}", arm.id);
                assert_eq!(values["exact"], values["layer.01.exact"]);
            }
            assert!(values["scored"] >= values["exact"]);
        }
    }
    let ids = lab.corpus().text(1, "tale", 0, 80).unwrap();
    for arm in ["local", "summaries"] {
        let model = lab.model(spec.arm(arm).unwrap(), 1).unwrap();
        let dense = (80 * 81 / 2) as f64;
        let pairs = (0..80).map(|query| scored(arm, query));
        let [exact, all] = pairs.fold([0, 0], |[exact, all], (tokens, clusters)| {
            [exact + tokens.len(), all + tokens.len() + clusters]
        });
        let mut shares = vec![
            ("exact", exact as f64 / dense),
            ("scored", all as f64 / dense),
        ];
        let layers = [0, 1].map(|layer| spread(&model, &ids, layer));
        for (layer, [above, effective]) in layers.into_iter().enumerate() {
            let own = [
                shares[0],
                shares[1],
                ("above", above),
                ("effective", effective),
            ];
            let named = own.map(|(name, value)| (format!("layer.{layer:02}.{name}"), value));
            holds(of(arm, 80), named);
        }
        for (place, name) in ["above", "effective"].into_iter().enumerate() {
            shares.push((name, mean(layers.map(|layer| layer[place]))));
        }
        holds(of(arm, 80), shares);
    }
    // Four clusters of each far chunk beside the tokens near by.
    let summaries = &of("summaries", 80).values;
    assert!(summaries["scored"] > summaries["exact"] && summaries["scored"] < 1.0);
    // Tokens that are looked up are computed exactly, beside the near ones.
    let moments = &of("moments", 80).values;
    assert!(moments["exact"] > summaries["exact"] && moments["exact"] < 1.0);
    // What fits into the near field is dense.
    assert_eq!(
        of("local", 12).values["effective"],
        of("dense", 12).values["effective"]
    );
}
