//! Optimisers, Muon and AdamW, for groups of parameters.

use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::tensor::{Bytes, Tensor};

use crate::config::{AdamW, OptimizerConfig};
use crate::error::TrainError;

/// The optimiser of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Matrix,
    Position,
    Other,
}

impl Group {
    fn of(name: &str) -> Self {
        match name {
            "wpe.weight" => Self::Position,
            _ if name.starts_with("h.") && name.ends_with(".weight") && !name.contains(".ln_") => {
                Self::Matrix
            }
            _ => Self::Other,
        }
    }
}

/// An optimiser for a group of parameters.
struct Part {
    /// Its name in checkpoints.
    name: &'static str,
    learning_rate: f64,
    rule: ModuleOptimizer,
}

/// Optimisers, and the assignment of parameters to them.
pub struct Optimizer {
    parts: Vec<Part>,
    /// The index of the part for a parameter of that name and rank.
    part_of: fn(&str, usize) -> usize,
}

impl Optimizer {
    /// The optimiser of a pretraining run before its first step: Muon for the matrices of the
    /// blocks, AdamW for the rest.
    pub fn pretraining(config: &OptimizerConfig) -> Self {
        let adamw = AdamWConfig::new()
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0);
        let decay = WeightDecayConfig {
            penalty: config.weight_decay as f32,
        };
        let muon =
            MuonConfig::new().with_weight_decay((config.weight_decay > 0.0).then_some(decay));
        Self {
            parts: vec![
                Part {
                    name: "matrices",
                    learning_rate: config.matrix_lr,
                    rule: muon.init(),
                },
                Part {
                    name: "positions",
                    learning_rate: config.position_lr,
                    rule: adamw.init(),
                },
                Part {
                    name: "others",
                    learning_rate: config.other_lr,
                    rule: adamw.init(),
                },
            ],
            part_of: |name, _| match Group::of(name) {
                Group::Matrix => 0,
                Group::Position => 1,
                Group::Other => 2,
            },
        }
    }

    /// PyTorch's AdamW, before its first step. Matrices decay; vectors and compression bases,
    /// whose norms are meaningful, do not.
    pub fn adamw(config: &AdamW) -> Self {
        let rule = |weight_decay: f64| {
            AdamWConfig::new()
                .with_beta_1(config.beta_1 as f32)
                .with_beta_2(config.beta_2 as f32)
                .with_epsilon(1e-8)
                .with_weight_decay(weight_decay as f32)
                .init()
        };
        Self {
            parts: vec![
                Part {
                    name: "decayed",
                    learning_rate: config.learning_rate,
                    rule: rule(config.weight_decay),
                },
                Part {
                    name: "kept",
                    learning_rate: config.learning_rate,
                    rule: rule(0.0),
                },
            ],
            part_of: |name, rank| usize::from(!decays(name, rank)),
        }
    }

    /// One update, with the learning rates multiplied by `rate`.
    pub fn step(&mut self, model: Gpt2, grads: GradientsParams, rate: f64) -> Gpt2 {
        let mut split = Split {
            path: Vec::new(),
            grads,
            groups: self.parts.iter().map(|_| GradientsParams::new()).collect(),
            part_of: self.part_of,
        };
        model.visit(&mut split);
        self.parts
            .iter_mut()
            .zip(split.groups)
            .fold(model, |model, (part, grads)| {
                part.rule.step(rate * part.learning_rate, model, grads)
            })
    }

    /// The names of the parts' states in a checkpoint.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |part: &Part| format!("optimizer.{}", part.name);
        self.parts.iter().map(name).collect()
    }

    /// The parts' states, to be stored.
    pub(crate) fn to_bytes(&self) -> Result<Vec<Vec<u8>>, TrainError> {
        let bytes = |part: &Part| match part.rule.into_bytes() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(TrainError::config("optimizer state", error)),
        };
        self.parts.iter().map(bytes).collect()
    }

    /// The optimiser with stored states, in the order of its parts.
    pub(crate) fn load(mut self, states: Vec<Vec<u8>>) -> Result<Self, String> {
        self.parts = self
            .parts
            .into_iter()
            .zip(states)
            .map(|(part, bytes)| {
                let rule = part
                    .rule
                    .from_bytes(Bytes::from_bytes_vec(bytes))
                    .map_err(|e| e.to_string())?;
                Ok(Part { rule, ..part })
            })
            .collect::<Result<_, String>>()?;
        Ok(self)
    }
}

/// Whether AdamW decays a parameter.
fn decays(name: &str, rank: usize) -> bool {
    rank == 2 && !name.contains(".bases.")
}

/// Numbers the parameters in visiting order.
///
/// The optimiser's state is stored by these numbers; Burn's own ids are random in every process.
pub(crate) fn number_parameters(model: Gpt2) -> Gpt2 {
    struct Number(u64);
    impl ModuleMapper for Number {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (_, value, mapper) = param.consume();
            Param::from_mapped_value(ParamId::from(self.0), value, mapper)
        }
    }
    model.map(&mut Number(0))
}

struct Split {
    path: Vec<String>,
    grads: GradientsParams,
    groups: Vec<GradientsParams>,
    part_of: fn(&str, usize) -> usize,
}

impl ModuleVisitor for Split {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let part = (self.part_of)(&self.path.join("."), D);
            self.groups[part].register(param.id, grad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_grouped_by_what_they_are() {
        assert_eq!(Group::of("h.3.attn.c_attn.weight"), Group::Matrix);
        assert_eq!(Group::of("h.3.mlp.c_proj.weight"), Group::Matrix);
        for other in [
            "h.3.attn.c_attn.bias",
            "h.0.ln_1.weight",
            "ln_f.weight",
            "wte.weight",
        ] {
            assert_eq!(Group::of(other), Group::Other, "{other}");
        }
        assert_eq!(Group::of("wpe.weight"), Group::Position);
    }

    #[test]
    fn matrices_decay_and_nothing_else() {
        assert!(decays("h.0.attn.c_attn.weight", 2));
        assert!(decays("h.0.mlp.c_fc.weight.lora.a", 2));
        assert!(decays("wte.weight", 2));
        assert!(!decays("h.0.attn.c_attn.bias", 1));
        assert!(!decays("h.0.ln_1.weight", 1));
        assert!(!decays("h.0.attn.bsbr.bases.key", 3));
    }
}
