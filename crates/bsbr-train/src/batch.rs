//! Windows through a model: parallel micro-batches, and the cross entropy of their targets.

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::{Gpt2, TokenBatch};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::error::TrainError;
use crate::gradients::accumulate;
use crate::positions::Positions;
use crate::recompute::Pass;

/// Losses of a step or a part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses {
    /// This part's share of the step's loss.
    pub value: f64,
    /// Sum of the cross entropies of the answers, the targets with higher weights, in nats.
    pub answers: f64,
    /// The number of answer tokens.
    pub answer_count: u64,
}

impl Losses {
    pub fn add(&mut self, part: &Self) {
        self.value += part.value;
        self.answers += part.answers;
        self.answer_count += part.answer_count;
    }

    pub fn mean_answer(&self) -> Option<f64> {
        (self.answer_count > 0).then(|| self.answers / self.answer_count as f64)
    }
}

/// The sum of the weights of all targets.
pub(crate) fn total_weight(windows: &[TrainWindow]) -> f64 {
    windows
        .iter()
        .flat_map(|window| &window.weights)
        .map(|&w| f64::from(w))
        .sum()
}

/// Gradients and losses of numbered micro-batches.
///
/// `micro_batch` computes a micro-batch's share of both. Up to `threads` are computed at a time,
/// and summed in their order, so the result does not depend on the threads.
pub(crate) fn micro_batches(
    model: &Gpt2,
    parts: &[(u64, &[TrainWindow])],
    threads: usize,
    micro_batch: impl Fn(&Gpt2, u64, &[TrainWindow]) -> Result<(GradientsParams, Losses), TrainError>
    + Sync,
) -> Result<(GradientsParams, Losses), TrainError> {
    let micro_batch = &micro_batch;
    let mut total = None;
    let mut losses = Losses::default();
    for side_by_side in parts.chunks(threads.max(1)) {
        let results: Vec<Result<(GradientsParams, Losses), TrainError>> =
            std::thread::scope(|scope| {
                let workers: Vec<_> = side_by_side
                    .iter()
                    .map(|&(number, rows)| {
                        // New leaves, because graphs that share leaves wait for each other.
                        let model = model.valid().train();
                        scope.spawn(move || micro_batch(&model, number, rows))
                    })
                    .collect();
                workers
                    .into_iter()
                    .map(|worker| {
                        worker
                            .join()
                            .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
                    })
                    .collect()
            });
        for result in results {
            let (grads, part) = result?;
            losses.add(&part);
            total = Some(accumulate(model, total, grads));
        }
    }
    Ok((total.unwrap_or_default(), losses))
}

/// The number of threads of the machine.
pub(crate) fn machine_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Windows of one length, as model input.
pub(crate) struct Rows {
    /// All tokens but the last of each window.
    pub inputs: TokenBatch,
    /// All tokens but the first, row after row.
    targets: Vec<i32>,
    /// The weight of each target.
    pub weights: Vec<f32>,
}

impl Rows {
    pub fn new(windows: &[TrainWindow]) -> Result<Self, TrainError> {
        let inputs: Vec<&[u32]> = windows
            .iter()
            .map(|window| &window.ids[..window.ids.len().saturating_sub(1)])
            .collect();
        Ok(Self {
            inputs: TokenBatch::rows(&inputs)?,
            targets: windows
                .iter()
                .flat_map(|window| window.ids.iter().skip(1).map(|&id| id as i32))
                .collect(),
            weights: windows
                .iter()
                .flat_map(|window| window.weights.iter().copied())
                .collect(),
        })
    }

    /// Hidden states of the inputs after the final norm. `[B·N, n_embd]`
    pub fn hidden(&self, model: &Gpt2, positions: &Positions) -> Result<Tensor<2>, TrainError> {
        Ok(Pass::new(model, &self.inputs, positions, false)?.hidden)
    }

    /// Sum of weight times cross entropy over the targets, in nats. `[1]`
    ///
    /// Without `weights`, the targets' own weights are used.
    pub fn cross_entropy(
        &self,
        hidden: Tensor<2>,
        table: Tensor<2>,
        weights: Option<Vec<f32>>,
    ) -> Tensor<1> {
        let (targets, weights) = self.targets(weights, &hidden.device());
        let (hidden, table) = (hidden.cast(DType::F32), table.cast(DType::F32));
        bsbr_kernels::linear_cross_entropy(hidden, table, targets, weights)
    }

    /// [`Self::cross_entropy`] of the model's output layer, for a backward pass.
    pub fn trained_cross_entropy(&self, hidden: Tensor<2>, model: &Gpt2) -> Tensor<1> {
        let table = model.output_table();
        let Some(packed) = model.bf16_output() else {
            return self.cross_entropy(hidden, table, None);
        };
        let (targets, weights) = self.targets(None, &hidden.device());
        bsbr_kernels::linear_cross_entropy_bf16(hidden, table, targets, weights, packed)
    }

    /// Targets and their weights, or others.
    fn targets(&self, weights: Option<Vec<f32>>, device: &Device) -> (Tensor<1, Int>, Tensor<1>) {
        let count = self.targets.len();
        let weights = weights.unwrap_or_else(|| self.weights.clone());
        let targets: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(self.targets.clone(), [count]), device);
        let weights = Tensor::from_data(TensorData::new(weights, [count]), device);
        (targets, weights)
    }

    /// Losses of the answers.
    pub fn answers(&self, hidden: &Tensor<2>, model: &Gpt2) -> Losses {
        let is_answer: Vec<f32> = self
            .weights
            .iter()
            .map(|&w| if w > 1.0 { 1.0 } else { 0.0 })
            .collect();
        let answer_count = is_answer.iter().sum::<f32>() as u64;
        if answer_count == 0 {
            return Losses::default();
        }
        let table = model.output_table().inner();
        let sum = self.cross_entropy(hidden.clone().inner(), table, Some(is_answer));
        Losses {
            value: 0.0,
            answers: f64::from(sum.into_scalar::<f32>()),
            answer_count,
        }
    }
}

/// Gradients of a micro-batch's share of the mean cross entropy of a step with targets of total
/// weight `total_weight`.
pub(crate) fn language_modelling(
    model: &Gpt2,
    windows: &[TrainWindow],
    positions: &Positions,
    total_weight: f64,
    recompute: bool,
) -> Result<(GradientsParams, Losses), TrainError> {
    let rows = Rows::new(windows)?;
    let pass = Pass::new(model, &rows.inputs, positions, recompute)?;
    let mut losses = rows.answers(&pass.hidden, model);
    let loss = rows.trained_cross_entropy(pass.hidden.clone(), model) / total_weight;
    losses.value = f64::from(loss.clone().into_scalar::<f32>());
    Ok((pass.backward(loss), losses))
}
