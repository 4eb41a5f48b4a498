//! From a dense model to its arms: all that this crate asks of loading, conversion and maps.

use std::path::Path;

use bsbr_attention::{ArmConfig, Attention, AttentionInput};
use bsbr_convert::{ConversionPlan, FloatType, LoadOptions, calibrate, load_model};
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::tensor::{Device, Tensor, TensorData};

use crate::compare::host;
use crate::error::ReportError;

/// Loads a model folder, its weights in f32 however they are stored.
///
/// # Errors
///
/// [`ReportError::Load`] says what is wrong with the folder; [`ReportError::NotDense`] where it
/// holds a model that was converted before.
pub fn load_dense(folder: &Path, device: &Device) -> Result<Gpt2, ReportError> {
    let options = LoadOptions {
        // Records name the type that they were measured in.
        dtype: Some(FloatType::F32),
        ..LoadOptions::on(device)
    };
    let model = load_model(folder, &options)?.model;
    let config = model.config();
    match (0..config.n_layer).find(|&layer| config.arm(layer) != ArmConfig::DENSE) {
        None => Ok(model),
        Some(layer) => Err(ReportError::NotDense {
            path: folder.to_owned(),
            layer,
            arm: config.arm(layer).name(),
        }),
    }
}

/// The model with `arm` in every layer; weights are shared, not copied.
///
/// `calibration` holds texts for the bases of compressed states; each arm's other parameters start
/// where they need no training.
///
/// # Errors
///
/// [`ReportError`] where the arm does not fit the model or has nothing to be calibrated on.
pub fn convert(
    dense: &Gpt2,
    arm: &ArmConfig,
    calibration: &[Vec<u32>],
) -> Result<Gpt2, ReportError> {
    let plan = ConversionPlan::uniform(arm.clone());
    let model = bsbr_convert::convert(dense.clone(), &plan)?;
    if arm.compression() == 1 {
        return Ok(model);
    }
    let batches = calibration
        .iter()
        .map(|text| TokenBatch::single(text))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(calibrate(model, &batches)?)
}

/// A converted model, of which all but some layers are dense again.
///
/// # Errors
///
/// [`ReportError`] where the model does not have such a layer.
pub fn converted_in(
    converted: &Gpt2,
    layers: impl IntoIterator<Item = usize>,
) -> Result<Gpt2, ReportError> {
    let config = converted.config();
    let plan = layers
        .into_iter()
        .fold(ConversionPlan::uniform(ArmConfig::DENSE), |plan, layer| {
            plan.with_layer(layer, config.arm(layer))
        });
    Ok(bsbr_convert::convert(converted.clone(), &plan)?)
}

/// What each token's output takes from the value of each token. `[H · N · N]`, for one sequence
///
/// Every arm's output is linear in the values, so that the weights are its outputs for values that
/// are one direction each and zero elsewhere, as many tokens at a time as there are directions.
/// Where values of states are compressed, the directions are those of their basis, so that the
/// weights are what the state gives to what it keeps. Weights of an arm with a state may be below
/// zero.
///
/// # Errors
///
/// [`ReportError::Tensor`] where the weights cannot be read back.
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
        for (row, taken) in host(output.matmul(directions))?
            .chunks_exact(count)
            .enumerate()
        {
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
