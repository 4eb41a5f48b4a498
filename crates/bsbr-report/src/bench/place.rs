//! Where the tensors of a run lived, and what their elements were.

use std::process::Command;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::host::Machine;

/// A device and the type of a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The device, as `--device` names it.
    pub device: String,
    /// The type of the weights: `f32`, `f16` or `bf16`.
    pub dtype: String,
    /// The device's name and driver, where it is not the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
}

impl Default for Place {
    /// The processor, in `f32`.
    fn default() -> Self {
        Self {
            device: "flex".to_owned(),
            dtype: "f32".to_owned(),
            accelerator: None,
        }
    }
}

impl Place {
    /// A device by its name, and a type that models are computed in.
    pub fn new(device: &str, dtype: &str) -> Self {
        let mut new = Self {
            device: device.to_owned(),
            dtype: dtype.to_owned(),
            accelerator: None,
        };
        if new.is_accelerator() {
            new.accelerator = nvidia();
        }
        new
    }

    /// Whether it is what records have that say nothing.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is not the processor.
    pub fn is_accelerator(&self) -> bool {
        let kind = self.device.split(':').next().unwrap_or_default();
        !["flex", "ndarray"].contains(&kind)
    }

    /// The type of the weights.
    pub(crate) fn dtype(&self) -> DType {
        match self.dtype.as_str() {
            "f16" => DType::F16,
            "bf16" => DType::BF16,
            _ => DType::F32,
        }
    }

    /// Device and type as PyTorch calls them.
    pub(crate) fn in_torch(&self) -> [&'static str; 2] {
        let device = match self.is_accelerator() {
            true => "cuda",
            false => "cpu",
        };
        let dtype = match self.dtype() {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            _ => "float32",
        };
        [device, dtype]
    }

    /// The place in words: the machine where it is the processor, else the device of it.
    pub(super) fn describe(&self, machine: &Machine) -> String {
        let mut text = match (self.is_accelerator(), &self.accelerator) {
            (false, _) => machine.describe(),
            (true, Some(name)) => format!("{name}, by {}", self.device),
            (true, None) => format!("{} of {}", self.device, machine.describe()),
        };
        if self.is_accelerator() || self.dtype() != DType::F32 {
            text.push_str(&format!(", {}", self.dtype));
        }
        text
    }
}

/// The first GPU and its driver, where NVIDIA's tool tells.
fn nvidia() -> Option<String> {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    let output = Command::new("nvidia-smi").args(query).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (name, driver) = text.lines().next()?.split_once(',')?;
    output
        .status
        .success()
        .then(|| format!("{}, driver {}", name.trim(), driver.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_itself_from_others() {
        let machine = Machine {
            cpu: Some("A CPU".to_owned()),
            cores: 2,
            memory_gib: None,
            system: "linux x86_64".to_owned(),
        };
        let mut gpu = Place::new("wgpu", "f16");
        gpu.accelerator = Some("A GPU, driver 1".to_owned());
        let places = [
            Place::default(),
            Place::new("flex", "bf16"),
            gpu,
            Place {
                accelerator: None,
                ..Place::new("cuda:1", "f32")
            },
        ];
        let words = places.each_ref().map(|place| place.describe(&machine));
        assert_eq!(
            words,
            [
                "A CPU, 2 cores, linux x86_64",
                "A CPU, 2 cores, linux x86_64, bf16",
                "A GPU, driver 1, by wgpu, f16",
                "cuda:1 of A CPU, 2 cores, linux x86_64, f32",
            ]
        );
        let torch = places.each_ref().map(Place::in_torch);
        assert_eq!(torch[1], ["cpu", "bfloat16"]);
        assert_eq!(torch[2], ["cuda", "float16"]);
    }
}
