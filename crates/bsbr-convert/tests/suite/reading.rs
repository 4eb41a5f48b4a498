//! Every file format of a checkpoint gives the same numbers.

use bsbr_convert::keys::Weights;
use bsbr_convert::{Checkpoint, Dtype, ModelFolder};
use half::{bf16, f16};

use crate::support::{expected, fixture};

fn check(folder: &str, dtype: Dtype, round: impl Fn(f32) -> f32) {
    let folder_path = ModelFolder::open(fixture(folder)).unwrap();
    let checkpoint = Checkpoint::open(&folder_path).unwrap();
    let weights = Weights::new(&checkpoint).unwrap();
    for (name, (shape, values)) in expected().tensors {
        let tensor = weights
            .get(&name)
            .unwrap_or_else(|| panic!("{folder}: {name}"));
        assert_eq!(tensor.dtype(), dtype, "{folder}: {name}");
        assert_eq!(tensor.shape(), shape, "{folder}: {name}");
        let rounded: Vec<f32> = values.into_iter().map(&round).collect();
        assert_eq!(tensor.to_f32().unwrap(), rounded, "{folder}: {name}");
    }
    let config = folder_path.config().unwrap();
    assert!(weights.check(&config).is_clean(), "{folder}");
    weights.check_tied(&config).unwrap();
}

#[test]
fn safetensors_of_every_kind_hold_the_same_numbers() {
    check("single", Dtype::F32, |v| v);
    check("bare", Dtype::F32, |v| v);
    check("sharded", Dtype::F32, |v| v);
    check("f64", Dtype::F64, |v| v);
    check("f16", Dtype::F16, |v| f16::from_f32(v).to_f32());
    check("bf16", Dtype::BF16, |v| bf16::from_f32(v).to_f32());
}

#[test]
fn pickles_of_every_kind_hold_the_same_numbers() {
    check("pickle_zip", Dtype::F32, |v| v);
    check("pickle_legacy", Dtype::F32, |v| v);
    check("pickle_protocol4", Dtype::BF16, |v| {
        bf16::from_f32(v).to_f32()
    });
    check("pickle_sharded", Dtype::F16, |v| f16::from_f32(v).to_f32());
}

#[test]
fn masks_of_old_versions_are_left_out_whatever_their_type() {
    for folder in ["bare", "pickle_zip", "pickle_legacy", "pickle_protocol4"] {
        let checkpoint = Checkpoint::open(&ModelFolder::open(fixture(folder)).unwrap()).unwrap();
        let weights = Weights::new(&checkpoint).unwrap();
        assert_eq!(
            weights.ignored(),
            [
                "h.0.attn.bias",
                "h.0.attn.masked_bias",
                "h.1.attn.bias",
                "h.1.attn.masked_bias"
            ],
            "{folder}"
        );
    }
}

#[test]
fn a_mapped_tensor_is_a_view_and_a_scattered_one_a_copy() {
    use std::borrow::Cow;
    let folder = |name| ModelFolder::open(fixture(name)).unwrap();
    let mapped = Checkpoint::open(&folder("single")).unwrap();
    assert!(
        mapped
            .tensors()
            .all(|tensor| matches!(tensor.bytes().unwrap(), Cow::Borrowed(_)))
    );
    let pickled = Checkpoint::open(&folder("pickle_zip")).unwrap();
    assert!(
        pickled
            .tensors()
            .all(|tensor| matches!(tensor.bytes().unwrap(), Cow::Owned(_)))
    );
}

#[test]
fn a_checkpoint_lists_its_tensors() {
    let checkpoint = Checkpoint::open(&ModelFolder::open(fixture("untied")).unwrap()).unwrap();
    assert_eq!(checkpoint.len(), 29);
    assert!(!checkpoint.is_empty());
    let head = checkpoint.tensor("lm_head.weight").unwrap();
    assert_eq!(head.name(), "lm_head.weight");
    assert_eq!(head.shape(), [11, 4]);
    assert!(head.file().ends_with("model.safetensors"));
    assert!(checkpoint.tensor("nothing").is_none());
}
