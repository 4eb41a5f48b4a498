//! The device and type of a run.

use std::process::Command;

use burn::tensor::DType;

use crate::host::{Machine, On};
use crate::record::Record;

/// A device and the type of a model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The device, in the notation of `--device`.
    pub device: String,
    /// The type of the weights: `f32`, `f16` or `bf16`.
    pub dtype: String,
    /// The device's name and driver, if it is not the CPU.
    pub accelerator: Option<String>,
}

impl Default for Place {
    /// The CPU, in `f32`.
    fn default() -> Self {
        Self {
            device: "flex".to_owned(),
            dtype: "f32".to_owned(),
            accelerator: None,
        }
    }
}

impl Place {
    /// A device by its name, and the type of the computation.
    pub fn new(device: &str, dtype: &str) -> Self {
        let mut new = Self {
            device: device.to_owned(),
            dtype: dtype.to_owned(),
            accelerator: None,
        };
        if new.is_accelerator() {
            new.accelerator = nvidia(new.index());
        }
        new
    }

    /// The device and type of a record.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            device: record.identity.device.clone(),
            dtype: record.identity.dtype.clone(),
            accelerator: record.run.machine.accelerator.clone(),
        }
    }

    /// Whether it is the CPU, in `f32`.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is not this machine's CPU.
    pub fn is_accelerator(&self) -> bool {
        On::of(&self.device) != Some(On::Cpu)
    }

    /// The index of a GPU; `None` if it is not given, or does not follow NVIDIA's
    /// numbering.
    fn index(&self) -> Option<&str> {
        self.device.strip_prefix("cuda:")
    }

    /// The type of the weights.
    pub(crate) fn dtype(&self) -> DType {
        match self.dtype.as_str() {
            "f16" => DType::F16,
            "bf16" => DType::BF16,
            _ => DType::F32,
        }
    }

    /// Device and type in PyTorch's notation.
    ///
    /// # Errors
    ///
    /// Why PyTorch does not support it.
    pub(crate) fn in_torch(&self) -> Result<[String; 2], String> {
        let device = match (On::of(&self.device), self.index()) {
            (Some(On::Cpu), _) => "cpu".to_owned(),
            (Some(On::Gpu), None) => "cuda".to_owned(),
            (Some(On::Gpu), Some(index)) => format!("cuda:{index}"),
            (None, _) => return Err(format!("PyTorch does not compute on {}", self.device)),
        };
        let dtype = match self.dtype() {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            _ => "float32",
        };
        Ok([device, dtype.to_owned()])
    }

    /// A description: the machine for the CPU, else the device.
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

/// A GPU and its driver, from NVIDIA's tool; the first GPU without an index.
fn nvidia(index: Option<&str>) -> Option<String> {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    let mut command = Command::new("nvidia-smi");
    command.args(query).args(["-i", index.unwrap_or("0")]);
    let output = command.output().ok()?;
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
            accelerator: None,
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
        let torch = places.map(|place| place.in_torch().unwrap().join(" "));
        assert_eq!(
            torch,
            [
                "cpu float32",
                "cpu bfloat16",
                "cuda float16",
                "cuda:1 float32"
            ]
        );
        let lent = Place::new("remote:ws://127.0.0.1:1", "f32").in_torch();
        assert!(lent.unwrap_err().contains("remote:ws"));
    }
}
