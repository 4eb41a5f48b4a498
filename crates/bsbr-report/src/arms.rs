//! From a dense model to its arms: loading, conversion and attention maps.

use std::path::Path;

use bsbr_attention::{ArmConfig, Attention, AttentionInput, HeadLevel};
use bsbr_convert::{ConversionPlan, FloatType, LoadOptions, calibrate, load_model};
use bsbr_gpt2::{Gpt2, PackError, ProductType, TokenBatch};
use burn::tensor::{Device, Tensor, TensorData};

use crate::compare::host;
use crate::error::ReportError;

/// Loads a model folder with its own arms, with weights in f32 whatever their stored type.
///
/// # Errors
///
/// [`ReportError::Load`] if the folder is invalid.
pub fn load(folder: &Path, device: &Device) -> Result<Gpt2, ReportError> {
    let options = LoadOptions {
        // Records name the type of the measurement.
        dtype: Some(FloatType::F32),
        ..LoadOptions::on(device)
    };
    Ok(load_model(folder, &options)?.model)
}

/// Same as [`load`], with dense attention in every layer.
///
/// # Errors
///
/// Same as [`load`].
pub fn load_dense(folder: &Path, device: &Device) -> Result<Gpt2, ReportError> {
    dense_form(load(folder, device)?)
}

/// The arm of each layer.
pub fn of_layers(model: &Gpt2) -> Vec<ArmConfig> {
    model.arms().cloned().collect()
}

/// Arms by layer, as in `0-2: moments, 3: dense`, or a single name if all layers have it.
pub fn by_layer(arms: &[ArmConfig]) -> String {
    let mut groups: Vec<(usize, usize, &ArmConfig)> = Vec::new();
    for (layer, arm) in arms.iter().enumerate() {
        match groups.last_mut() {
            Some((_, last, known)) if *known == arm => *last = layer,
            _ => groups.push((layer, layer, arm)),
        }
    }
    let words = groups.iter().map(|(first, last, arm)| match groups.len() {
        1 => arm.to_string(),
        _ if first == last => format!("{first}: {arm}"),
        _ => format!("{first}-{last}: {arm}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The same weights with dense attention in every layer.
///
/// # Errors
///
/// [`ReportError::Convert`], which cannot occur with dense attention.
pub fn dense_form(model: Gpt2) -> Result<Gpt2, ReportError> {
    match of_layers(&model).iter().all(|arm| *arm == ArmConfig::DENSE) {
        true => Ok(model),
        false => convert(&model, &ArmConfig::DENSE, &[]),
    }
}

/// The model with `arm` in every layer; weights are shared, not copied, and so are packed ones.
///
/// `calibration` has texts for the bases of compressed states; other parameters of an arm have the
/// values that need no training.
///
/// # Errors
///
/// [`ReportError`] if the arm does not fit the model or cannot be calibrated.
pub fn convert(
    dense: &Gpt2,
    arm: &ArmConfig,
    calibration: &[Vec<u32>],
) -> Result<Gpt2, ReportError> {
    let plan = ConversionPlan::uniform(arm.clone());
    let model = bsbr_convert::convert(dense.clone(), &plan)?.with_packed_weights_of(dense);
    if arm.compression() == 1 {
        return Ok(model);
    }
    let batches = calibration.iter().map(|text| TokenBatch::single(text));
    let batches: Result<Vec<_>, _> = batches.collect();
    Ok(calibrate(model, &batches?)?.with_packed_weights_of(dense))
}

/// The model with weights packed for products of a type, shared with models packed before:
/// only weights that are not shared are packed.
///
/// # Errors
///
/// [`PackError`] if the device or CPU does not support such products.
pub(crate) fn packed(
    model: Gpt2,
    products: ProductType,
    before: &mut Vec<Gpt2>,
) -> Result<Gpt2, PackError> {
    let known = before.iter().find(|one| one.products() == Some(products));
    if let Some(known) = known {
        let model = model.with_packed_weights_of(known);
        return model.with_packed_weights(products);
    }
    let model = model.with_packed_weights(products)?;
    before.push(model.clone());
    Ok(model)
}

/// A converted model with only some layers converted; the others are dense again.
///
/// # Errors
///
/// [`ReportError`] if the model has no such layer.
pub fn converted_in(
    converted: &Gpt2,
    layers: impl IntoIterator<Item = usize>,
) -> Result<Gpt2, ReportError> {
    let config = converted.config();
    let dense = ConversionPlan::uniform(ArmConfig::DENSE);
    let with = |plan: ConversionPlan, layer| plan.with_layer(layer, config.arm(layer));
    let plan = layers.into_iter().fold(dense, with);
    Ok(bsbr_convert::convert(converted.clone(), &plan)?.with_packed_weights_of(converted))
}

/// The model with an arm in every layer and a level for each head; weights are shared.
///
/// # Errors
///
/// [`ReportError`] if there is not a level for each head of each layer.
pub fn with_levels(
    dense: &Gpt2,
    arm: &ArmConfig,
    levels: &[Vec<HeadLevel>],
) -> Result<Gpt2, ReportError> {
    let mut plan = ConversionPlan::uniform(arm.clone());
    for (layer, levels) in levels.iter().enumerate() {
        let mut own = arm.clone();
        let alike = levels.iter().all(|level| *level == HeadLevel::Lookups);
        if let (ArmConfig::Moments(config), false) = (&mut own, alike) {
            config.levels.clone_from(levels);
        }
        plan = plan.with_layer(layer, own);
    }
    Ok(bsbr_convert::convert(dense.clone(), &plan)?)
}

/// The weights of each token's value in each token's output. `[H · N · N]`, for one sequence
///
/// Every arm's output is linear in the values. So the weights are its outputs for values that are
/// one direction each and zero elsewhere, with as many tokens at a time as there are directions.
/// If the values of states are compressed, the directions are those of their basis, so the weights
/// apply to the part that the state keeps. Weights of an arm with a state may be negative.
///
/// # Errors
///
/// [`ReportError::Tensor`] if the weights cannot be read back.
pub fn weights(attention: &Attention, input: AttentionInput) -> Result<Vec<f32>, ReportError> {
    let [_, heads, tokens, size] = input.value.dims();
    let device = input.value.device();
    let (directions, count) = match &attention.bases {
        None => (identity(heads, size, &device), size),
        Some(bases) => (bases.value.val(), bases.rank()),
    };
    let columns = host(directions.clone())?;
    let mut weights = vec![0.0; heads * tokens * tokens];
    for start in (0..tokens).step_by(count) {
        let width = count.min(tokens - start);
        let mut values = vec![0.0f32; heads * tokens * size];
        for head in 0..heads {
            for column in 0..width {
                let token = (head * tokens + start + column) * size;
                for row in 0..size {
                    values[token + row] = columns[(head * size + row) * count + column];
                }
            }
        }
        let values = TensorData::new(values, [1, heads, tokens, size]);
        let value = Tensor::<4>::from_data(values, (&device, input.value.dtype()));
        let output = attention.forward(AttentionInput {
            value,
            ..input.clone()
        });
        let directions = directions.clone().cast(output.dtype()).unsqueeze::<4>();
        let rows = host(output.matmul(directions))?;
        for (row, taken) in rows.chunks_exact(count).enumerate() {
            let place = row * tokens + start;
            weights[place..place + width].copy_from_slice(&taken[..width]);
        }
    }
    Ok(weights)
}

/// `[H, D, D]`
fn identity(heads: usize, size: usize, device: &Device) -> Tensor<3> {
    let one: Tensor<2> = Tensor::eye(size, device);
    one.unsqueeze::<3>().expand([heads, size, size])
}
