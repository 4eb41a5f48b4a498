//! Muon for the matrices of the blocks, AdamW for the rest.

use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, MuonConfig};
use burn::tensor::{Bytes, Tensor};

use crate::config::OptimizerConfig;
use crate::error::TrainError;

/// Which rule updates a parameter.
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

/// The optimiser of a pretraining run.
pub struct Optimizer {
    config: OptimizerConfig,
    matrices: ModuleOptimizer,
    positions: ModuleOptimizer,
    others: ModuleOptimizer,
}

impl Optimizer {
    /// An optimiser that has made no step.
    pub fn new(config: &OptimizerConfig) -> Self {
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
            config: config.clone(),
            matrices: muon.init(),
            positions: adamw.init(),
            others: adamw.init(),
        }
    }

    /// One update, with the learning rates multiplied by `rate`.
    pub fn step(&mut self, model: Gpt2, grads: GradientsParams, rate: f64) -> Gpt2 {
        let mut split = Split {
            path: Vec::new(),
            grads,
            groups: [
                GradientsParams::new(),
                GradientsParams::new(),
                GradientsParams::new(),
            ],
        };
        model.visit(&mut split);
        let [matrices, positions, others] = split.groups;
        let model = self
            .matrices
            .step(rate * self.config.matrix_lr, model, matrices);
        let model = self
            .positions
            .step(rate * self.config.position_lr, model, positions);
        self.others.step(rate * self.config.other_lr, model, others)
    }

    /// The optimiser's state, to be stored.
    pub(crate) fn to_bytes(&self) -> Result<[Vec<u8>; 3], TrainError> {
        let bytes = |optimizer: &ModuleOptimizer| {
            optimizer
                .into_bytes()
                .map(|bytes| bytes.to_vec())
                .map_err(|e| TrainError::Config {
                    setting: "optimizer state".into(),
                    message: e.to_string(),
                })
        };
        Ok([
            bytes(&self.matrices)?,
            bytes(&self.positions)?,
            bytes(&self.others)?,
        ])
    }

    /// The optimiser with a stored state.
    pub(crate) fn load(self, [matrices, positions, others]: [Vec<u8>; 3]) -> Result<Self, String> {
        let load = |optimizer: ModuleOptimizer, bytes: Vec<u8>| {
            optimizer
                .from_bytes(Bytes::from_bytes_vec(bytes))
                .map_err(|e| e.to_string())
        };
        Ok(Self {
            config: self.config,
            matrices: load(self.matrices, matrices)?,
            positions: load(self.positions, positions)?,
            others: load(self.others, others)?,
        })
    }
}

/// Numbers the parameters in the order of their visit.
///
/// The optimiser's state is stored by these numbers; Burn's own are drawn anew in every process.
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
    groups: [GradientsParams; 3],
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
            let group = match Group::of(&self.path.join(".")) {
                Group::Matrix => 0,
                Group::Position => 1,
                Group::Other => 2,
            };
            self.groups[group].register(param.id, grad);
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
}
