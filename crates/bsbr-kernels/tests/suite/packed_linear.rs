//! Packed layers against their plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking
#![allow(clippy::print_stderr)] // what a processor lacks is said

use crate::common::{assert_close, assert_same, tensor};
use bsbr_kernels::{
    PackedActivation, PackedLinear, ProductType, WeightLayout, packed_linear, packed_linear_plain,
};
use burn::tensor::{DType, Device, Tensor};

const TYPES: [ProductType; 4] = ProductType::ALL;
const SIZES: [[usize; 2]; 5] = [[1, 1], [5, 3], [67, 131], [768, 40], [1601, 97]];

/// The layer, or nothing where the processor has no such products.
fn packed(
    weight: &Tensor<2>,
    bias: &Tensor<1>,
    layout: WeightLayout,
    products: ProductType,
) -> Option<PackedLinear> {
    let layer = PackedLinear::new(weight, Some(bias), layout, products);
    if layer.is_none() {
        assert!(!products.is_portable(), "any processor has them");
        eprintln!("this processor has no products in {products:?}");
    }
    layer
}

/// Sums of a thousand products are rounded in another order. In 8 bits, the plain form rounds sums
/// that are exact in the layer. GELU changes the remaining difference.
const TOLERANCE: f32 = 3e-6;

#[test]
fn equals_plain() {
    let device = Device::flex();
    for products in TYPES {
        for [k, m] in SIZES {
            let weight = tensor([k, m], 3, 0.5, &device);
            let bias = tensor([m], 4, 1.0, &device);
            let Some(layer) = packed(&weight, &bias, WeightLayout::InOut, products) else {
                continue;
            };
            for n in [1, 2, 7, 12, 29, 200] {
                let x = tensor([n, k], 5, 3.0, &device) + 0.4;
                for activation in [PackedActivation::Identity, PackedActivation::GeluNew] {
                    let found = packed_linear(x.clone(), &layer, activation);
                    let (weight, bias) = (weight.clone(), bias.clone());
                    let plain = packed_linear_plain(x.clone(), weight, bias, products, activation);
                    let what = format!("{n} rows, {k} by {m}, {products:?}, {activation:?}");
                    assert_close(found, plain, TOLERANCE, &what);
                }
            }
        }
    }
}

/// In 8 bits too, the product is near the exact one.
#[test]
fn rounding_is_small() {
    let device = Device::flex();
    let weight = tensor([300, 50], 3, 0.5, &device);
    let bias = tensor([50], 4, 1.0, &device);
    let x = tensor([20, 300], 5, 3.0, &device);
    let exact = x.clone().matmul(weight.clone()) + bias.clone().unsqueeze();
    for (products, most) in [
        (ProductType::F32, 1e-6),
        (ProductType::Bf16, 4e-3),
        (ProductType::Int8, 1e-2),
        (ProductType::Int4, 0.1),
    ] {
        let Some(layer) = packed(&weight, &bias, WeightLayout::InOut, products) else {
            continue;
        };
        let found = packed_linear(x.clone(), &layer, PackedActivation::Identity);
        let norm = |x: Tensor<2>| x.powi_scalar(2).sum().into_scalar::<f32>().sqrt();
        let off = norm(found - exact.clone()) / norm(exact.clone());
        assert!(off < most, "{products:?}: {off}");
        assert!(
            off > most / 100.0 || products == ProductType::F32,
            "{products:?}: {off}"
        );
    }
}

#[test]
fn takes_views_and_half_precision() {
    let device = Device::flex();
    for products in TYPES {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let whole = tensor([90, 80], 6, 0.5, &device).cast(dtype);
            let bias = tensor([40], 7, 1.0, &device);
            let view = whole.clone().narrow(1, 3, 40).narrow(0, 7, 60);
            let table = view.clone().transpose();
            let x = tensor([70, 9], 8, 1.0, &device)
                .transpose()
                .narrow(1, 4, 60);
            let layers = [(&view, WeightLayout::InOut), (&table, WeightLayout::OutIn)];
            for (weight, layout) in layers {
                let Some(layer) = packed(weight, &bias, layout, products) else {
                    continue;
                };
                assert_eq!([layer.inputs(), layer.outputs()], [60, 40]);
                let found = packed_linear(x.clone(), &layer, PackedActivation::Identity);
                let plain = packed_linear_plain(
                    x.clone(),
                    view.clone().cast(DType::F32),
                    bias.clone(),
                    products,
                    PackedActivation::Identity,
                );
                assert_close(found, plain, TOLERANCE, &format!("{products:?} {dtype:?}"));
            }
        }
    }
}

#[test]
fn rows_do_not_mix() {
    let device = Device::flex();
    let weight = tensor([130, 70], 1, 0.5, &device);
    let bias = tensor([70], 2, 1.0, &device);
    for products in TYPES {
        let Some(layer) = packed(&weight, &bias, WeightLayout::InOut, products) else {
            continue;
        };
        let x = tensor([40, 130], 3, 1.0, &device);
        let all = packed_linear(x.clone(), &layer, PackedActivation::GeluNew);
        let other = x
            .clone()
            .slice_assign([1..40, 0..130], tensor([39, 130], 4, 100.0, &device));
        let other = packed_linear(other, &layer, PackedActivation::GeluNew);
        let alone = packed_linear(x.narrow(0, 0, 1), &layer, PackedActivation::GeluNew);
        let first = all.narrow(0, 0, 1);
        assert_same([first.clone(), first], [alone, other.narrow(0, 0, 1)]);
    }
}

/// A row that holds no number gives none, and leaves the others alone.
#[test]
fn what_is_not_finite_is_not_lost() {
    let device = Device::flex();
    let weight = tensor([40, 6], 1, 0.5, &device);
    let bias = tensor([6], 2, 1.0, &device);
    for products in TYPES {
        let Some(layer) = packed(&weight, &bias, WeightLayout::InOut, products) else {
            continue;
        };
        let x = tensor([3, 40], 3, 1.0, &device);
        let x = x.slice_fill([1..2, 7..8], f32::NAN);
        let found = packed_linear(x, &layer, PackedActivation::Identity);
        let found = crate::common::vec(found);
        let is_nan: Vec<bool> = found
            .chunks(6)
            .map(|row| row.iter().all(|x| x.is_nan()))
            .collect();
        assert_eq!(is_nan, [false, true, false], "{products:?}");
    }
}

#[test]
fn bytes_are_those_of_the_weights() {
    let device = Device::flex();
    let weight = tensor([256, 64], 1, 0.5, &device);
    for (products, half_bytes, of_outputs) in [
        (ProductType::F32, 8, 4),
        (ProductType::Bf16, 4, 4),
        (ProductType::Int8, 2, 12),
        // A scale for each of eight groups.
        (ProductType::Int4, 1, 4 + 8 * 2),
    ] {
        if let Some(layer) = PackedLinear::new(&weight, None, WeightLayout::InOut, products) {
            assert_eq!(layer.bytes(), 256 * 64 * half_bytes / 2 + 64 * of_outputs);
        }
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_rows_of_another_length() {
    let device = Device::flex();
    let weight = tensor([4, 5], 1, 1.0, &device);
    let layer = PackedLinear::new(&weight, None, WeightLayout::InOut, ProductType::Int8).unwrap();
    packed_linear(
        tensor([2, 3], 1, 1.0, &device),
        &layer,
        PackedActivation::Identity,
    );
}

#[test]
#[should_panic(expected = "no gradients")]
fn rejects_rows_that_want_gradients() {
    let device = Device::flex();
    let weight = tensor([4, 5], 1, 1.0, &device);
    let layer = PackedLinear::new(&weight, None, WeightLayout::InOut, ProductType::Int8).unwrap();
    let x = tensor([2, 4], 1, 1.0, &device.autodiff());
    packed_linear(x, &layer, PackedActivation::Identity);
}
