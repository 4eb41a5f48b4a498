//! Which devices share the work of a step.

use bsbr_kernels::has_collectives;
use burn::tensor::Device;

use crate::error::TrainError;

/// The devices that the micro-batches of a step are dealt out to, in turns.
///
/// The default names none: the model's own device does all. The weights are updated, and kept, on
/// the model's device. What a run computes does not depend on its devices but for rounding: the
/// gradients of a device are summed first, and then those of all devices in the order of this list.
/// A run may therefore go on with other devices than it began with.
#[derive(Debug, Clone, Default)]
pub struct Devices {
    list: Vec<Device>,
    strategy: Strategy,
}

/// How the gradients of several devices come together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// They are copied to the model's device and summed there. Any devices, of different backends
    /// too.
    #[default]
    MultiDevice,
    /// Distributed data parallel: the devices sum them among themselves by collective operations,
    /// which only CUDA has.
    Ddp,
}

impl Devices {
    /// Devices that work side by side.
    ///
    /// One that is listed twice gets two shares of the work, unless the strategy is
    /// [`Strategy::Ddp`].
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] where the list is empty, or names a device twice for
    /// [`Strategy::Ddp`]; [`TrainError::NoCollectives`] where that strategy is asked for and a
    /// device has none.
    pub fn new(list: Vec<Device>, strategy: Strategy) -> Result<Self, TrainError> {
        let wrong = |message: String| TrainError::Config {
            setting: "devices".into(),
            message,
        };
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

    /// The devices; none where the model's own does all.
    pub fn list(&self) -> &[Device] {
        &self.list
    }

    /// How their gradients come together.
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
