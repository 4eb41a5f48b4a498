//! Conversion of a model to other arms.

use std::any::Any;
use std::collections::HashMap;

use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::error::ConvertError;
use crate::keys::is_arm_name;
use crate::plan::ConversionPlan;

/// The same weights with the arms of `plan`.
///
/// A layer that already has its arm with the same settings keeps the arm's own tensors, trained
/// or not. In other layers they start from the layer's projections. If an arm compresses its
/// states, call [`calibrate`](crate::calibrate) next.
///
/// # Errors
///
/// [`ConvertError`] if the plan names layers that do not exist, or invalid settings.
pub fn convert(model: Gpt2, plan: &ConversionPlan) -> Result<Gpt2, ConvertError> {
    let old = model.config();
    let layers = plan.arms(old.n_layer)?;
    let kept: Vec<bool> = layers
        .iter()
        .enumerate()
        .map(|(layer, arm)| old.arm(layer) == *arm)
        .collect();
    let config = old.with_arms(layers);
    let device = model.device();
    let extension = model.position_extension();

    let mut take = Take::default();
    model.visit(&mut take);
    // `take` keeps the old model's tensors until the new model has them.
    drop(model);
    let mut put = Put {
        path: Vec::new(),
        tensors: take.tensors,
        kept: &kept,
    };
    let mut model = Gpt2::zeros(&config, &device)?
        .map(&mut put)
        .with_position_extension(extension)?;
    for (block, kept) in model.h.iter_mut().zip(&kept) {
        if !kept {
            let attention = &mut block.attn;
            let weight = attention.c_attn.weight.val().detach();
            let bias = attention.c_attn.bias.val().detach();
            attention.bsbr = attention.bsbr.clone().init_from_projection(weight, bias);
        }
    }
    Ok(model)
}

/// A model's tensors by name, without a copy.
#[derive(Default)]
struct Take {
    path: Vec<String>,
    tensors: HashMap<String, Box<dyn Any>>,
}

impl ModuleVisitor for Take {
    follow_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors
            .insert(self.path.join("."), Box::new(param.clone()));
    }
}

/// Puts the tensors into another model.
struct Put<'a> {
    path: Vec<String>,
    tensors: HashMap<String, Box<dyn Any>>,
    kept: &'a [bool],
}

impl Put<'_> {
    /// Whether a tensor of that name is kept, if it exists.
    fn keeps(&self, name: &str) -> bool {
        let layer = || self.path.get(1)?.parse::<usize>().ok();
        !is_arm_name(name) || layer().and_then(|layer| self.kept.get(layer)) == Some(&true)
    }
}

impl ModuleMapper for Put<'_> {
    follow_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.join(".");
        if !self.keeps(&name) {
            return param;
        }
        match self.tensors.remove(&name).map(|old| old.downcast()) {
            Some(Ok(old)) => *old,
            _ => param,
        }
    }
}
