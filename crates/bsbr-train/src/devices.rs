//! The devices that share the work of a step.

use bsbr_kernels::has_collectives;
use burn::tensor::Device;

use crate::error::TrainError;

/// The devices over which the micro-batches of a step are distributed in turn.
///
/// The default is an empty list: the model's own device does all work. The weights are updated and
/// kept on the model's device. The result of a run depends on its devices only by rounding:
/// gradients are summed first per device, then over devices in the order of this list. A run may
/// therefore resume on other devices.
#[derive(Debug, Clone, Default)]
pub struct Devices {
    list: Vec<Device>,
    strategy: Strategy,
}

/// How the gradients of several devices are combined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Gradients are copied to the model's device and summed there. Works with any devices, also of
    /// different backends.
    #[default]
    MultiDevice,
    /// Distributed data parallel: the devices sum the gradients by collective operations, which
    /// only CUDA supports.
    Ddp,
}

impl Devices {
    /// Devices that work in parallel.
    ///
    /// A device that is listed twice gets two shares of the work, unless the strategy is
    /// [`Strategy::Ddp`].
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] if the list is empty, or names a device twice for [`Strategy::Ddp`];
    /// [`TrainError::NoCollectives`] if a device does not support that strategy.
    pub fn new(list: Vec<Device>, strategy: Strategy) -> Result<Self, TrainError> {
        let wrong = |message: String| TrainError::config("devices", message);
        if list.is_empty() {
            return Err(wrong("the list is empty; name at least one".into()));
        }
        if strategy == Strategy::Ddp {
            for (place, device) in list.iter().enumerate() {
                if !has_collectives(device) {
                    return Err(TrainError::NoCollectives {
                        device: format!("{device:?}"),
                    });
                }
                if list[..place].contains(device) {
                    return Err(wrong(format!(
                        "{device:?} is listed twice; with ddp each device works once"
                    )));
                }
            }
        }
        Ok(Self { list, strategy })
    }

    /// The devices; empty if the model's own device does all work.
    pub fn list(&self) -> &[Device] {
        &self.list
    }

    /// How their gradients are combined.
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_devices_is_refused() {
        let error = Devices::new(Vec::new(), Strategy::MultiDevice).unwrap_err();
        assert_eq!(
            error.to_string(),
            "devices: the list is empty; name at least one"
        );
    }

    #[test]
    fn ddp_without_collectives_says_what_to_use() {
        let error = Devices::new(vec![Device::flex()], Strategy::Ddp).unwrap_err();
        assert!(
            matches!(&error, TrainError::NoCollectives { device } if device.contains("Flex")),
            "{error:?}"
        );
        assert!(error.to_string().contains("multi-device"), "{error}");
    }
}
