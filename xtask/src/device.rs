//! `--device flex|ndarray|wgpu|cuda[:n]`, checked before anything is built on it.

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Tensor};

/// What `--device` accepts.
pub const HELP: &str = "Where tensors live: flex, ndarray, wgpu or cuda, with :N for the N-th one \
                        (backends beside flex are compiled in by --features ndarray,wgpu,cuda)";

/// The device that `name` asks for.
///
/// # Errors
///
/// Says which feature is missing where the backend was not compiled in, and what Burn says where
/// the device is not there.
pub fn parse(name: &str) -> Result<Device> {
    let (kind, index) = match name.split_once(':') {
        None => (name, None),
        Some((kind, index)) => {
            let index: usize = index
                .parse()
                .with_context(|| format!("--device {name}: `{index}` is no number"))?;
            (kind, Some(index))
        }
    };
    if !["flex", "ndarray", "wgpu", "cuda"].contains(&kind) {
        bail!(
            "--device {name}: unknown; expected flex, ndarray, wgpu or cuda, with :N for the N-th one"
        );
    }
    if index.is_some_and(|index| index > 0) && ["flex", "ndarray"].contains(&kind) {
        bail!("--device {name}: there is one {kind} device only");
    }
    let device = std::panic::catch_unwind(|| open(kind, index.unwrap_or(0)))
        .map_err(|cause| anyhow::anyhow!("--device {name}: not there: {}", message(&*cause)))??;
    // A first tensor shows whether the device answers.
    let probe = device.clone();
    std::panic::catch_unwind(move || Tensor::<1>::ones([1], &probe).sum().into_data())
        .map_err(|cause| anyhow::anyhow!("--device {name}: not there: {}", message(&*cause)))?;
    Ok(device)
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
        _ => bail!(
            "--device {kind}: not compiled in; run `cargo xtask` as \
             `cargo run -p xtask --features {kind} -- …`"
        ),
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
