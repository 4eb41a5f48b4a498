//! A stored cache continues a text in another process as if the text had just been read.

use std::path::Path;

use bsbr_convert::{
    ArmConfig, CacheFileError, CacheOwner, ConversionPlan, convert, load_cache, save_cache,
};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::Device;

const TOKENS: usize = 43;

fn model(seed: u64, arm: &str) -> Gpt2 {
    let config = Gpt2Config::from_json(
        r#"{"vocab_size": 50, "n_positions": 64, "n_embd": 12, "n_layer": 2, "n_head": 2}"#,
    )
    .unwrap();
    let model = Gpt2::init(&config, seed, &Device::default()).unwrap();
    convert(model, &ConversionPlan::parse(arm, None).unwrap()).unwrap()
}

fn ids() -> Vec<u32> {
    (0..TOKENS as u32).map(|i| i * 13 % 50).collect()
}

fn owner(model: &Gpt2) -> CacheOwner {
    CacheOwner::of(model, "a model", "{}")
}

/// Reads the text and keeps it.
fn saved(model: &Gpt2, path: &Path) -> bsbr_gpt2::Gpt2Cache {
    let mut cache = model.new_cache();
    let batch = TokenBatch::single(&ids()).unwrap();
    model.prefill(&batch, &mut cache, 10).unwrap();
    save_cache(path, &owner(model), &ids(), &cache).unwrap();
    cache
}

/// Whether caches of this model are stored: those of the CPU backend.
fn stores() -> bool {
    let others = std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex");
    !others && cfg!(feature = "flex")
}

const SHAPE: &str = "chunk_size=5,clusters=2,sink_tokens=3";

#[test]
fn what_is_read_back_goes_on_as_what_was_kept() {
    if !stores() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.cache");
    let moments = |more: &str| format!("moments:{SHAPE},{more}");
    let arms = [
        "dense".to_owned(),
        "dense:kv_bits=8".to_owned(),
        "dense:kv_bits=4".to_owned(),
        "local:chunk_size=5,sink_tokens=3".to_owned(),
        moments("exact_clusters=2"),
        moments("exact_clusters=2,kv_bits=4"),
        moments("exact_clusters=2,kv_bits=32"),
        moments("exact_clusters=0,kv_bits=16"),
        moments("levels=near+lookups"),
        moments("exact_clusters=2,span=2,opened=1"),
        moments("exact_clusters=2,kv_bits=32,span=1,opened=2"),
    ];
    for arm in arms {
        let model = model(1, &arm);
        let mut kept = saved(&model, &path);
        let read = load_cache(&path, &owner(&model), &model).unwrap();
        assert_eq!(
            (read.ids, read.cache.lengths()),
            (ids(), [TOKENS].as_slice())
        );
        assert_eq!(read.cache.bytes(), kept.bytes(), "{arm}");
        let mut cache = read.cache;
        // Far enough for chunks to leave the near field.
        for start in [0, 1, 8] {
            let more: Vec<u32> = (start..start + 6).collect();
            let batch = TokenBatch::single(&more).unwrap();
            let expected = model.forward_cached(&batch, &mut kept).unwrap();
            let found = model.forward_cached(&batch, &mut cache).unwrap();
            assert_eq!(found.into_data(), expected.into_data(), "{arm}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_foreign_cache_is_refused_with_both_names() {
    if !stores() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.cache");
    let own = model(1, "moments");
    saved(&own, &path);
    let refused = |model: &Gpt2, owner: CacheOwner, words: [&str; 2]| {
        let error = load_cache(&path, &owner, model).unwrap_err();
        assert!(matches!(error, CacheFileError::Foreign { .. }), "{error}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let other = model(2, "moments");
    let named = CacheOwner::of(&other, "b model", "{}");
    refused(&other, named, ["`a model`", "`b model`"]);
    let other = model(1, "dense");
    refused(
        &other,
        owner(&other),
        [r#""arm":"moments""#, r#""arm":"dense""#],
    );
    let named = CacheOwner::of(&own, "a model", "{ }");
    refused(&own, named, ["the tokenizer", "44136fa355b3"]);

    let mut bytes = std::fs::read(&path).unwrap();
    let text = br#""version":"1""#;
    let at = bytes.windows(text.len()).position(|part| part == text);
    bytes[at.unwrap() + text.len() - 2] = b'7';
    std::fs::write(&path, bytes).unwrap();
    refused(&own, owner(&own), ["version 7", "expected 1"]);
}

#[test]
fn a_damaged_cache_is_refused_wherever_it_is_damaged() {
    if !stores() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.cache");
    let model = model(1, &format!("moments:{SHAPE}"));
    saved(&model, &path);
    let whole = std::fs::read(&path).unwrap();
    let owner = owner(&model);
    let step = whole.len() / 97;
    for at in (0..whole.len()).step_by(step.max(1)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        std::fs::write(&path, &bytes).unwrap();
        match load_cache(&path, &owner, &model) {
            // The name of the model is not compared.
            Ok(read) => assert_eq!(read.ids, ids(), "byte {at}"),
            Err(error) => assert!(error.to_string().contains("text.cache"), "{error}"),
        }
        std::fs::write(&path, &whole[..at]).unwrap();
        let error = load_cache(&path, &owner, &model).unwrap_err();
        assert!(
            matches!(error, CacheFileError::Damaged { .. }),
            "{at} bytes: {error}"
        );
    }
    std::fs::write(&path, "no cache at all").unwrap();
    let error = load_cache(&path, &owner, &model).unwrap_err().to_string();
    assert!(error.contains("not the cache of a text"), "{error}");
}

#[test]
fn what_cannot_be_stored_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.cache");
    let model = model(1, "published:chunk_size=5");
    let mut cache = model.new_cache();
    let batch = TokenBatch::single(&ids()).unwrap();
    model.prefill(&batch, &mut cache, 10).unwrap();
    let error = save_cache(&path, &owner(&model), &ids(), &cache).unwrap_err();
    assert!(
        error.to_string().contains("\"arm\":\"published\""),
        "{error}"
    );
    assert!(!path.exists());
    assert_eq!(
        model.config().arm(0).name(),
        ArmConfig::named("published").unwrap().name()
    );
}
