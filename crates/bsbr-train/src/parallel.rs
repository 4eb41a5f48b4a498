//! The micro-batches of a step on several devices, run by Burn's training engine.
//!
//! Burn's `MultiDevicesTrainStep` keeps a thread for each device, forks the model to it and runs a
//! training step there. Its learner would also choose the data, the update and the checkpoints.
//! Here these are functions of the seed and the step, so only the step is used.

use std::convert::Infallible;
use std::sync::Arc;

use bsbr_data::stream::TrainWindow;
use bsbr_gpt2::Gpt2;
use burn::backend::ExecutionError;
use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use burn_train::train::{MultiDeviceStepError, MultiDevicesTrainStep};
use burn_train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};

use crate::batch::{Losses, micro_batches};
use crate::collective::{AllReduce, sum_over_devices};
use crate::devices::{Devices, Strategy};
use crate::error::TrainError;
use crate::gradients::accumulate;

/// Computes the gradients and losses of a micro-batch from the model, its teacher, the
/// micro-batch's number in the step, and its windows.
pub(crate) type MicroBatch = Arc<
    dyn Fn(
            &Gpt2,
            Option<&Gpt2>,
            u64,
            &[TrainWindow],
        ) -> Result<(GradientsParams, Losses), TrainError>
        + Send
        + Sync,
>;

/// What computes the micro-batches of a step.
pub(crate) enum Executor {
    /// The model's own device.
    Own(Box<Worker>),
    /// Workers on several devices.
    Devices {
        step: MultiDevicesTrainStep<WorkerModel>,
        workers: Vec<Worker>,
    },
}

/// The state of a worker.
#[derive(Clone)]
pub(crate) struct Worker {
    /// Its number in the list.
    number: usize,
    /// Number of micro-batches computed at a time.
    threads: usize,
    /// The teacher of the model.
    original: Option<Gpt2>,
    /// The devices that sum the gradients by collective operations, if they do.
    collective: Option<Arc<[Device]>>,
}

impl Executor {
    /// Uses the given devices, or the model's own if the list is empty. `threads` is the number of
    /// micro-batches computed at a time on all of them together.
    pub fn new(devices: &Devices, original: Option<Gpt2>, threads: usize) -> Self {
        let list = devices.list();
        let own = Worker {
            number: 0,
            threads,
            original,
            collective: match devices.strategy() {
                Strategy::MultiDevice => None,
                Strategy::Ddp => Some(list.iter().map(|device| device.clone().inner()).collect()),
            },
        };
        if list.is_empty() {
            return Self::Own(Box::new(own));
        }
        let workers = list.iter().enumerate().map(|(number, device)| Worker {
            number,
            threads: (threads / list.len()).max(1),
            original: own.original.clone().map(|one| one.to_device(device)),
            collective: own.collective.clone(),
        });
        Self::Devices {
            step: MultiDevicesTrainStep::new(list),
            workers: workers.collect(),
        }
    }

    /// Gradients and losses of `windows`, divided into micro-batches of `micro_rows`, on the
    /// device of `model`.
    pub fn step(
        &self,
        model: &Gpt2,
        windows: Vec<TrainWindow>,
        micro_rows: usize,
        micro_batch: MicroBatch,
    ) -> Result<(GradientsParams, Losses), TrainError> {
        let parts = windows.chunks(micro_rows.max(1)).zip(0_u64..);
        match self {
            Self::Own(worker) => {
                let parts: Vec<_> = parts.map(|(rows, number)| (number, rows)).collect();
                worker.micro_batches(model, &parts, &micro_batch)
            }
            Self::Devices { step, workers } => {
                let mut shares: Vec<Share> = workers
                    .iter()
                    .map(|worker| Share {
                        worker: worker.clone(),
                        parts: Vec::new(),
                        micro_batch: micro_batch.clone(),
                    })
                    .collect();
                let count = shares.len();
                for (rows, number) in parts {
                    // Each device sums its own gradients, so weights and gradients are copied once
                    // per step, whatever the number of micro-batches.
                    shares[number as usize % count]
                        .parts
                        .push((number, rows.to_vec()));
                }
                together(step, model, shares)
            }
        }
    }
}

impl Worker {
    fn micro_batches(
        &self,
        model: &Gpt2,
        parts: &[(u64, &[TrainWindow])],
        micro_batch: &MicroBatch,
    ) -> Result<(GradientsParams, Losses), TrainError> {
        let original = self.original.as_ref();
        micro_batches(model, parts, self.threads, |model, number, rows| {
            micro_batch(model, original, number, rows)
        })
    }
}

/// The results of the workers, summed on the device of `model` in the order of the devices.
fn together(
    step: &MultiDevicesTrainStep<WorkerModel>,
    model: &Gpt2,
    shares: Vec<Share>,
) -> Result<(GradientsParams, Losses), TrainError> {
    let summed_already = shares.iter().any(|share| share.worker.collective.is_some());
    let mut loaders: Vec<Box<dyn DataLoaderIterator<Share>>> = shares
        .into_iter()
        // In collective operations, devices without micro-batches take part too.
        .map(|share| (summed_already || !share.parts.is_empty()).then_some(share))
        .map(|share| Box::new(Once(share)) as Box<dyn DataLoaderIterator<Share>>)
        .collect();
    let model_of_workers = WorkerModel {
        model: model.clone(),
    };
    let found = step.step(&mut loaders, &model_of_workers);
    let (outputs, _) = found.map_err(stopped)?;
    let mut outputs: Vec<_> = outputs
        .into_iter()
        .map(|output| (output.output.item, output.output.grads))
        .collect();
    outputs.sort_by_key(|(outcome, _)| outcome.place);
    let device = model.device().inner();
    let mut losses = Losses::default();
    let mut total = None;
    for (outcome, grads) in outputs {
        losses.add(&outcome.losses?);
        if summed_already && total.is_some() {
            continue;
        }
        let grads = grads.to_device(&device, model);
        total = Some(accumulate(model, total, grads));
    }
    Ok((total.unwrap_or_default(), losses))
}

fn stopped(error: MultiDeviceStepError) -> TrainError {
    let (place, message) = match &error {
        MultiDeviceStepError::Workers(failures) => match failures.as_slice() {
            [first, ..] => (first.device_id, first.message.clone()),
            [] => (0, error.to_string()),
        },
        MultiDeviceStepError::Dataset(_) => (0, error.to_string()),
    };
    TrainError::Worker {
        place: place + 1,
        message,
    }
}

/// A device's part of a step.
pub(crate) struct Share {
    worker: Worker,
    /// Micro-batches by their numbers in the step.
    parts: Vec<(u64, Vec<TrainWindow>)>,
    micro_batch: MicroBatch,
}

/// The result of a device's share, besides gradients.
pub(crate) struct Outcome {
    place: usize,
    losses: Result<Losses, TrainError>,
}

impl ItemLazy for Outcome {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

/// The model in the form that Burn's training engine takes.
#[derive(Module, Debug)]
pub(crate) struct WorkerModel {
    model: Gpt2,
}

impl TrainStep for WorkerModel {
    type Input = Share;
    type Output = Outcome;

    fn step(&self, share: Share) -> TrainOutput<Outcome> {
        let parts: Vec<(u64, &[TrainWindow])> = share
            .parts
            .iter()
            .map(|(number, rows)| (*number, rows.as_slice()))
            .collect();
        let found = share
            .worker
            .micro_batches(&self.model, &parts, &share.micro_batch);
        let (mut grads, losses) = match found {
            Ok((grads, losses)) => (grads, Ok(losses)),
            Err(error) => (GradientsParams::new(), Err(error)),
        };
        if let Some(devices) = &share.worker.collective {
            // Also after an error, because the others wait for this device.
            grads = sum_over_devices(&self.model, grads, &AllReduce(devices));
        }
        TrainOutput {
            grads,
            item: Outcome {
                place: share.worker.number,
                losses,
            },
        }
    }
}

/// Required by Burn's engine; validation does not use the engine.
impl InferenceStep for WorkerModel {
    type Input = Infallible;
    type Output = Outcome;

    fn step(&self, item: Infallible) -> Outcome {
        match item {}
    }
}

/// A data loader of at most one share.
struct Once(Option<Share>);

impl Iterator for Once {
    type Item = Result<Share, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl DataLoaderIterator<Share> for Once {
    fn progress(&self) -> Progress {
        Progress::new(1, 1, None)
    }
}
