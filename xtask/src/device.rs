//! `--device flex|ndarray|wgpu|cuda[:n]` or `--device remote:ws://HOST:PORT`, checked before it
//! is used.

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};

/// The accepted values of `--device`.
pub const HELP: &str = "Device: flex, ndarray, wgpu[:N], cuda[:N] or remote:ws://HOST:PORT; all \
                        but flex need a build feature";

/// The message for an invalid name.
const EXPECTED: &str = "expected flex, ndarray, wgpu or cuda, with :N for the N-th one, or \
                        remote:ws://HOST:PORT";

/// The device `name`.
///
/// # Errors
///
/// Says which feature is missing if the backend was not compiled in, and Burn's message if the
/// device does not exist.
pub fn parse(name: &str) -> Result<Device> {
    let opened = std::panic::catch_unwind(|| -> Result<Device> {
        let device = match name.strip_prefix("remote:") {
            Some(address) => remote(address).with_context(|| format!("--device {name}"))?,
            None => local(name)?,
        };
        // A first tensor checks that the device responds.
        let _ = Tensor::<1>::ones([1], &device).sum().into_data();
        Ok(device)
    });
    opened.unwrap_or_else(|cause| bail!("--device {name}: not available: {}", message(&*cause)))
}

/// The devices `names`, in that order.
///
/// # Errors
///
/// Same as [`parse`], and if the list is empty or names a device twice.
pub fn parse_list(names: &[String]) -> Result<Vec<Device>> {
    if names.iter().all(|name| name.trim().is_empty()) {
        bail!("the list of devices is empty; name at least one, as in cuda:0,cuda:1");
    }
    let mut devices: Vec<Device> = Vec::new();
    for name in names {
        let device = parse(name.trim())?;
        if devices.contains(&device) {
            bail!("the device {name} is listed already; name each once");
        }
        devices.push(device);
    }
    Ok(devices)
}

/// A device of this machine.
fn local(name: &str) -> Result<Device> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => {
            let index: usize = index
                .parse()
                .with_context(|| format!("--device {name}: `{index}` is not a number"))?;
            (kind, Some(index))
        }
    };
    if !["flex", "ndarray", "wgpu", "cuda"].contains(&kind) {
        bail!("--device {name}: unknown; {EXPECTED}");
    }
    if index.is_some_and(|index| index > 0) && ["flex", "ndarray"].contains(&kind) {
        bail!("--device {name}: there is only one {kind} device");
    }
    open(kind, index.unwrap_or(0))
}

#[cfg(feature = "remote")]
use crate::remote::connect as remote;

#[cfg(not(feature = "remote"))]
fn remote(_: &str) -> Result<Device> {
    Err(missing("remote"))
}

/// The message for a backend that was not compiled in.
pub fn missing(feature: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "not compiled in; build the program with `--features {feature}`, as in `cargo run -p xtask \
         --features {feature} -- …` or `cargo install --path xtask --features {feature}`"
    )
}

#[allow(
    unused_variables,
    reason = "the index matters where a GPU backend is compiled in"
)]
fn open(kind: &str, index: usize) -> Result<Device> {
    match kind {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => {
            #[allow(deprecated, reason = "kept as a selectable backend on purpose")]
            let device = Device::ndarray();
            Ok(device)
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(match index {
            0 => burn::tensor::DeviceKind::DefaultDevice,
            n => burn::tensor::DeviceKind::DiscreteGpu(n),
        })),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(index)),
        _ => Err(missing(kind).context(format!("--device {kind}"))),
    }
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    cause
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| cause.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        format!("{:#}", parse_list(&names).unwrap_err())
    }

    #[test]
    fn a_list_names_each_device_once() {
        assert!(refusal(&[]).contains("is empty"));
        assert!(refusal(&[""]).contains("is empty"));
        assert!(refusal(&["flex", "flex"]).contains("flex is listed already"));
        assert!(refusal(&["flex", "flex:0"]).contains("flex:0 is listed already"));
        assert!(refusal(&["flex", "gpu"]).contains("unknown; expected flex"));
        assert!(refusal(&["flex", ""]).contains("unknown; expected flex"));
    }

    #[test]
    #[cfg(not(feature = "remote"))]
    fn a_remote_device_that_was_not_compiled_in_says_how_to() {
        let text = refusal(&["remote:ws://127.0.0.1:1"]);
        assert!(text.contains("--features remote"), "{text}");
    }
}
