//! Gradients of whole models are those of the loss, and equal those of PyTorch; so do the steps of
//! AdamW.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bsbr_attention::{ArmConfig, LocalConfig, MomentsConfig, PublishedConfig};
use bsbr_gpt2::parameters::{replace_tensors, visit_tensors};
use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use bsbr_train::config::AdamW;
use bsbr_train::finetune::{Dataset, FinetuneConfig, finetune};
use bsbr_train::{RunOptions, StepReport, TrainingObserver};
use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde::Deserialize;

/// What PyTorch computed; see `fixtures/generate.py`.
#[derive(Deserialize)]
struct Golden {
    config: serde_json::Value,
    window: usize,
    windows: usize,
    chunk: usize,
    ids: Vec<u32>,
    loss: BTreeMap<String, f64>,
    adamw: Curve,
}

#[derive(Deserialize)]
struct Curve {
    learning_rate: f64,
    weight_decay: f64,
    clip_norm: f64,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

type Values = BTreeMap<String, Vec<f32>>;

fn fixture(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(name)
}

impl Golden {
    fn read() -> Self {
        let text = std::fs::read_to_string(fixture("generated.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The stored tensors whose names begin with `prefix`.
    fn tensors(prefix: &str) -> Values {
        let bytes = std::fs::read(fixture("autograd.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let all = file.iter().filter_map(|(name, view)| {
            let words = view.data().chunks_exact(4);
            let values = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Some((name.strip_prefix(prefix)?.to_owned(), values.collect()))
        });
        all.collect()
    }

    /// The stored weights with an arm in every layer.
    fn model(&self, arm: ArmConfig) -> Gpt2 {
        let config = Gpt2Config::from_json(&self.config.to_string()).unwrap();
        let weights = Self::tensors("model.");
        let dense = Gpt2::zeros(&config, &Device::default()).unwrap();
        let dense = replace_tensors(dense, |name, shape| {
            Some(TensorData::new(weights[name].clone(), shape.to_vec()))
        });
        let plan = bsbr_convert::ConversionPlan::uniform(arm);
        bsbr_convert::convert(dense, &plan).unwrap()
    }

    /// Windows of a step: inputs with one token more.
    fn rows(&self) -> Vec<Vec<u32>> {
        (0..self.windows)
            .map(|row| self.ids[row * self.window..=(row + 1) * self.window].to_vec())
            .collect()
    }
}

/// Mean cross entropy, as training has it. `[1]`
fn loss(model: &Gpt2, rows: &[Vec<u32>]) -> Tensor<1> {
    let inputs: Vec<&[u32]> = rows.iter().map(|row| &row[..row.len() - 1]).collect();
    let hidden = model
        .hidden_states(&TokenBatch::rows(&inputs).unwrap())
        .unwrap();
    let [batch, tokens, size] = hidden.dims();
    let count = batch * tokens;
    let targets = rows.iter().flat_map(|row| &row[1..]);
    let targets: Vec<i32> = targets.map(|&id| id as i32).collect();
    let device = hidden.device();
    let targets: Tensor<1, Int> = Tensor::from_data(TensorData::new(targets, [count]), &device);
    let sum = bsbr_kernels::linear_cross_entropy(
        hidden.reshape([count, size]),
        model.output_table(),
        targets,
        Tensor::ones([count], &device),
    );
    sum / count as f64
}

/// The gradient of each parameter, by name; empty where the loss does not depend on it.
fn gradients(model: &Gpt2, rows: &[Vec<u32>]) -> (f64, Values) {
    struct Collect {
        path: Vec<String>,
        grads: GradientsParams,
        found: Values,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self.grads.get::<D>(param.id);
            let values = grad.map(|grad| grad.into_data().iter::<f32>().collect());
            self.found
                .insert(self.path.join("."), values.unwrap_or_default());
        }
    }
    let mut names = Vec::new();
    visit_tensors(model, |name, _| names.push(name.to_owned()));
    // Compression bases, too, which are fixed unless they are asked for.
    let model = model
        .clone()
        .train()
        .unfreeze_group(ParamGroup::from_paths(names));
    let value = loss(&model, rows);
    let nats = f64::from(value.clone().into_scalar::<f32>());
    let mut collect = Collect {
        path: Vec::new(),
        grads: GradientsParams::from_grads(value.backward(), &model),
        found: Values::new(),
    };
    model.visit(&mut collect);
    (nats, collect.found)
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|&x| f64::from(x).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

/// Each arm at sizes that leave it three far chunks in 27 tokens.
fn arms() -> Vec<ArmConfig> {
    let moments = MomentsConfig {
        chunk_size: 6,
        near_chunks: 0,
        sink_tokens: 2,
        clusters: 2,
        ..MomentsConfig::summaries()
    };
    vec![
        ArmConfig::DENSE,
        ArmConfig::Local(LocalConfig {
            chunk_size: 6,
            near_chunks: 1,
            sink_tokens: 2,
        }),
        ArmConfig::Published(PublishedConfig {
            chunk_size: 6,
            compression: 1,
        }),
        ArmConfig::Moments(moments.clone()),
        ArmConfig::Moments(MomentsConfig {
            state: false,
            ..moments.clone()
        }),
        ArmConfig::Moments(MomentsConfig {
            exact_clusters: 1,
            ..moments.clone()
        }),
        ArmConfig::Moments(MomentsConfig {
            compression: 4,
            ..moments.clone()
        }),
        ArmConfig::Moments(MomentsConfig {
            learned: true,
            ..moments
        }),
    ]
}

/// The loss where `name` is moved by `step` along a direction.
fn moved(model: &Gpt2, rows: &[Vec<u32>], name: &str, direction: &[f32], step: f64) -> f64 {
    let mut old = Vec::new();
    visit_tensors(model, |found, data| {
        if found == name {
            old = data.iter::<f32>().collect();
        }
    });
    let new = old
        .iter()
        .zip(direction)
        .map(|(&x, &d)| (f64::from(x) + step * f64::from(d)) as f32);
    let new: Vec<f32> = new.collect();
    let model = replace_tensors(model.clone(), |found, shape| {
        (found == name).then(|| TensorData::new(new.clone(), shape.to_vec()))
    });
    f64::from(loss(&model, rows).into_scalar::<f32>())
}

/// Along the gradient itself, where the differences are largest beside rounding, and along a
/// direction by chance, along which a gradient that is wrong beside itself shows.
///
/// Summaries, routing and the fused operations compute in f32 whatever the tensors' type, so that
/// the losses are f32 and good to some 1e-7 of themselves. Differences over 2e-3 of a direction of
/// length one are then good to 3e-4; the tolerance of 2 % of the tensor's largest slope is above that
/// where the slope is more than 0.02, and smaller slopes are compared with that as their size.
#[test]
fn gradients_of_every_parameter_of_every_arm_are_those_of_the_loss() {
    let golden = Golden::read();
    let rows = golden.rows();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for arm in arms() {
        let mut model = golden.model(arm.clone());
        if arm.compression() > 1 {
            let batch = TokenBatch::single(&rows[0][..golden.window]).unwrap();
            model = bsbr_convert::calibrate(model, &[batch]).unwrap();
        }
        let (_, found) = gradients(&model, &rows);
        assert!(found.len() >= 28, "{}", found.len());
        for (name, gradient) in &found {
            assert!(!gradient.is_empty(), "{arm:?}: {name} has no gradient");
            let length = norm(gradient);
            let along: Vec<f32> = gradient
                .iter()
                .map(|&x| (f64::from(x) / length.max(1e-12)) as f32)
                .collect();
            let mut chance: Vec<f32> = gradient
                .iter()
                .map(|_| rng.random_range(-1.0f32..1.0))
                .collect();
            let size = norm(&chance);
            chance
                .iter_mut()
                .for_each(|x| *x = (f64::from(*x) / size) as f32);
            for direction in [along, chance] {
                let at = |step| moved(&model, &rows, name, &direction, step);
                let numeric = (at(1e-3) - at(-1e-3)) / 2e-3;
                let analytic = dot(gradient, &direction);
                let error = (numeric - analytic).abs() / length.max(0.02);
                assert!(
                    error < 0.02,
                    "{arm:?}: {name}: {analytic} against {numeric}, {length} along itself"
                );
            }
        }
    }
}

/// PyTorch's values are of f64, so the difference is the rounding of an f32 backward pass through
/// two layers: 1e-4 of a tensor's gradient, or of a ten thousandth of the largest where it is less,
/// as by b_H, which is the same for all that a softmax chooses from.
#[test]
fn gradients_are_those_of_autograd() {
    let golden = Golden::read();
    let published = ArmConfig::Published(PublishedConfig {
        chunk_size: golden.chunk,
        compression: 1,
    });
    for (name, arm) in [("dense", ArmConfig::DENSE), ("published", published)] {
        let expected = Golden::tensors(&format!("{name}."));
        let (nats, found) = gradients(&golden.model(arm), &golden.rows());
        let wanted = golden.loss[name];
        assert!((nats - wanted).abs() < 1e-5, "{name}: {nats}, not {wanted}");
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        let largest = expected.values().map(|one| norm(one)).fold(0.0, f64::max);
        for (parameter, expected) in &expected {
            let found = &found[parameter];
            assert_eq!(found.len(), expected.len(), "{parameter}");
            let difference: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            let error = norm(&difference) / norm(expected).max(1e-4 * largest);
            assert!(error < 1e-4, "{name}: {parameter} is {error} away");
        }
    }
}

/// Ten steps of the real loop. Adam divides a gradient by its own size, which makes much of the
/// rounding of small ones; the losses still stay within 1e-4 of themselves.
#[test]
fn ten_steps_of_adamw_are_those_of_pytorch() {
    struct Nobody;
    impl TrainingObserver for Nobody {
        fn step(&mut self, _: &StepReport) {}
        fn message(&mut self, _: &str) {}
        fn validate(&mut self, _: u64, _: &Gpt2) {}
    }
    let golden = Golden::read();
    let wanted = &golden.adamw;
    let data = Dataset::tokens(golden.ids.clone(), golden.window, "golden".into()).unwrap();
    assert_eq!(data.windows(), golden.windows as u64);
    let config = FinetuneConfig {
        epochs: wanted.losses.len() as u64,
        optimizer: AdamW {
            learning_rate: wanted.learning_rate,
            weight_decay: wanted.weight_decay,
            clip_norm: wanted.clip_norm,
            warmup_share: 0.0,
            final_share: 1.0,
            ..AdamW::default()
        },
        grad_accumulation: golden.windows,
        random_offsets: false,
        ..FinetuneConfig::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        checkpoint_every: Duration::from_secs(3600),
        ..RunOptions::default()
    };
    let model = golden.model(ArmConfig::DENSE);
    let tuned = finetune(
        &config,
        model,
        None,
        &data,
        folder.path(),
        &options,
        &mut Nobody,
    );
    let history = tuned.unwrap().history;
    for (name, found, wanted) in [
        ("loss", &history.losses, &wanted.losses),
        ("gradient", &history.gradient_norms, &wanted.norms),
    ] {
        assert_eq!(found.len(), wanted.len());
        for (step, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let error = (found - wanted).abs() / wanted;
            assert!(error < 1e-4, "{name} of step {step}: {found}, not {wanted}");
        }
    }
}
