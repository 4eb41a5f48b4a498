//! If numbers in a pass overflow their type, the logits are NaN, and NaN is not mistaken for a
//! number.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{config, load_with, single};
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use bsbr_gpt2::{GenerationConfig, GenerationError, Gpt2, ProductType};
use burn::tensor::{Device, TensorData};

/// The token that is too large, and its place in the text.
const WRONG: (u32, usize) = (5, 17);

fn ids() -> Vec<u32> {
    let mut ids = crate::common::ids(30);
    ids.iter_mut()
        .for_each(|id| *id += u32::from(*id == WRONG.0));
    ids[WRONG.1] = WRONG.0;
    ids
}

fn models() -> impl Iterator<Item = (&'static str, Gpt2)> {
    [
        "dense",
        "local:chunk_size=4,sink_tokens=2",
        "published:chunk_size=4",
        "moments:chunk_size=4,clusters=2,sink_tokens=2,exact_clusters=2",
        "moments:chunk_size=4,clusters=2,sink_tokens=2,exact_clusters=0,state=true",
    ]
    .map(|arm| {
        let config = config("base").with_arm(crate::common::arm(arm));
        (arm, load_with(&config, "base", &Device::default()))
    })
    .into_iter()
}

/// The model with other numbers where `change` gives some.
fn changed(model: &Gpt2, change: impl Fn(&str, &mut Vec<f32>)) -> Gpt2 {
    let mut all = std::collections::HashMap::new();
    visit_tensors(model, |name, data| {
        let mut numbers: Vec<f32> = data.iter::<f32>().collect();
        change(name, &mut numbers);
        all.insert(name.to_owned(), numbers);
    });
    replace_tensors(model.clone(), |name, shape| {
        let numbers = all.remove(name)?;
        Some(TensorData::new(numbers, shape.to_vec()))
    })
}

/// Logits of each token.
fn logits(model: &Gpt2, ids: &[u32]) -> Vec<Vec<f32>> {
    let all = crate::common::logits(model, &single(ids));
    all.chunks(97).map(<[f32]>::to_vec).collect()
}

/// The layer norm of GPUs does not check for overflow.
fn is_gpu() -> bool {
    matches!(std::env::var("BURN_DEVICE").as_deref(), Ok("wgpu" | "cuda"))
}

/// `transformers` also has NaN there. In both, earlier rows may be NaN too, because NaN times a
/// weight of zero is NaN.
#[test]
fn a_row_of_embeddings_whose_squares_are_infinite() {
    if is_gpu() {
        return;
    }
    for (arm, model) in models() {
        let model = changed(&model, |name, numbers| {
            if name == "wte.weight" {
                let from = WRONG.0 as usize * 20;
                numbers[from..from + 20].fill(1e30);
                numbers[from] = -1e30;
            }
        });
        let ids = ids();
        let found = logits(&model, &ids);
        assert!(found[WRONG.1].iter().all(|x| x.is_nan()), "{arm}");
        let prompt = single(&ids[..=WRONG.1]);
        let settings = GenerationConfig {
            max_new_tokens: 2,
            ..GenerationConfig::default()
        };
        let error = model.generate(&prompt, &settings).expect_err(arm);
        assert!(
            matches!(error, GenerationError::NotFinite { .. }),
            "{error}"
        );
    }
}

/// No weight is beyond the square root of the largest number, but what a layer makes of them is.
#[test]
fn hidden_states_whose_squares_are_infinite() {
    if is_gpu() {
        return;
    }
    for (arm, model) in models() {
        let model = changed(&model, |name, numbers| {
            if name.starts_with("h.1.mlp.") && name.ends_with("weight") {
                numbers.iter_mut().for_each(|x| *x *= 1e12);
            }
        });
        let mut forms = vec![("plain", model.clone())];
        // Where the device and the processor have them.
        let packed = |products| model.clone().with_packed_weights(products).ok();
        forms.extend(packed(ProductType::F32).map(|model| ("f32", model)));
        forms.extend(packed(ProductType::Int8).map(|model| ("int8", model)));
        forms.extend(packed(ProductType::Int4).map(|model| ("int4", model)));
        for (form, model) in forms {
            for row in logits(&model, &ids()) {
                assert!(row.iter().all(|x| x.is_nan()), "{arm}, {form}");
            }
        }
    }
}
