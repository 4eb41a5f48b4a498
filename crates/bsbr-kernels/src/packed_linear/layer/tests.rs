//! Layers on every engine, in every layout and on any number of threads.
#![allow(clippy::print_stderr)] // what a processor lacks is said

use burn::tensor::TensorData;

use super::*;

/// Numbers between -1 and 1, the same on every run, some of them zero or large.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    (0..len)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let x = state as f32 / (1_u64 << 31) as f32 - 1.0;
            match i % 41 {
                7 => 0.0,
                11 => 30.0 * x,
                _ => x,
            }
        })
        .collect()
}

const SIZES: [[usize; 2]; 7] = [
    [1, 1],
    [5, 3],
    [67, 131],
    [64, 32],
    [130, 33],
    [3100, 40],
    [801, 96],
];

fn layer(
    [inputs, outputs]: [usize; 2],
    products: ProductType,
    engine: Engine,
    layout: WeightLayout,
) -> PackedLinear {
    let weights = numbers(inputs * outputs, 3);
    let data = match layout {
        WeightLayout::InOut => TensorData::new(weights, [inputs, outputs]),
        WeightLayout::OutIn => {
            let turned = (0..outputs)
                .flat_map(|m| (0..inputs).map(move |k| [k, m]))
                .map(|[k, m]| weights[k * outputs + m])
                .collect();
            TensorData::new(turned, [outputs, inputs])
        }
    };
    let bias = Some(numbers(outputs, 4));
    let data = FlexTensor::from_data(data);
    PackedLinear::pack(data, bias, layout, products, engine).unwrap()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

const TYPES: [ProductType; 4] = ProductType::ALL;

#[test]
fn products_of_bytes_are_the_same_on_every_processor() {
    let engine = Engine::detected(ProductType::Int8);
    if engine == Engine::Plain {
        eprintln!("this processor has no instructions for products of bytes: nothing to compare");
    }
    for products in [ProductType::Int8, ProductType::Int4] {
        for size in SIZES {
            for activation in [PackedActivation::Identity, PackedActivation::GeluNew] {
                let [fast, plain] = [engine, Engine::Plain].map(|engine| {
                    let layer = layer(size, products, engine, WeightLayout::InOut);
                    layer.forward(&numbers(size[0] * 29, 9), activation)
                });
                assert_eq!(bits(&fast), bits(&plain), "{products:?}, {size:?}");
            }
        }
    }
}

#[test]
fn a_layer_of_rounded_weights_is_that_of_the_weights() {
    let engine = Engine::detected(ProductType::Int8);
    for size in SIZES {
        let weights = numbers(size[0] * size[1], 3);
        let rounded = Int8Weight::rounded(&weights, size);
        let bias = numbers(size[1], 4);
        let expected = layer(size, ProductType::Int8, engine, WeightLayout::InOut);
        let bias = Tensor::from_data(TensorData::new(bias, [size[1]]), &Default::default());
        let found = PackedLinear::from_int8(&rounded, Some(&bias)).unwrap();
        assert_eq!(found.bytes(), expected.bytes());
        let x = numbers(size[0] * 5, 9);
        let [found, expected] =
            [found, expected].map(|one| one.forward(&x, PackedActivation::Identity));
        assert_eq!(bits(&found), bits(&expected), "{size:?}");
    }
}

#[test]
fn a_weight_below_the_levels_is_refused() {
    let of = |lowest: i8| Int8Weight {
        weights: TensorData::new(vec![1_i8, lowest], [1, 2]),
        steps: vec![1.0; 2],
    };
    assert!(PackedLinear::from_int8(&of(-127), None).is_some());
    assert!(PackedLinear::from_int8(&of(-128), None).is_none());
}

/// The plain loops sum in a different order.
#[test]
fn products_of_floats_are_near_those_of_plain_loops() {
    for products in [ProductType::F32, ProductType::Bf16] {
        let engine = Engine::detected(products);
        for size in SIZES {
            let [fast, plain] = [engine, Engine::Plain].map(|engine| {
                let layer = layer(size, products, engine, WeightLayout::InOut);
                layer.forward(&numbers(size[0] * 29, 9), PackedActivation::Identity)
            });
            let largest = plain.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
            for (found, expected) in fast.iter().zip(&plain) {
                let off = (found - expected).abs() / largest;
                assert!(off < 2e-6, "{products:?} {size:?}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn a_row_is_what_it_is_alone_on_any_number_of_threads() {
    for products in TYPES {
        for size in SIZES {
            let engine = Engine::detected(products);
            let layer = layer(size, products, engine, WeightLayout::InOut);
            let x = numbers(size[0] * 210, 5);
            let activation = PackedActivation::GeluNew;
            let all = layer.forward(&x, activation);
            for threads in [1, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let found = pool.unwrap().install(|| layer.forward(&x, activation));
                assert_eq!(bits(&found), bits(&all), "{products:?} {size:?}");
            }
            for (from, count) in [(0, 1), (209, 1), (3, 2), (100, 8), (50, 13), (8, 193)] {
                let part = &x[from * size[0]..][..count * size[0]];
                let found = layer.forward(part, activation);
                let among = &all[from * size[1]..][..count * size[1]];
                assert_eq!(bits(&found), bits(among), "{products:?} {size:?}");
            }
        }
    }
}

#[test]
fn both_layouts_are_the_same_layer() {
    for products in TYPES {
        for size in SIZES {
            let engine = Engine::detected(products);
            let [a, b] = [WeightLayout::InOut, WeightLayout::OutIn]
                .map(|layout| layer(size, products, engine, layout))
                .map(|layer| layer.forward(&numbers(size[0] * 2, 5), PackedActivation::Identity));
            assert_eq!(bits(&a), bits(&b), "{products:?} {size:?}");
        }
    }
}

/// The largest sums that 32 bits hold.
#[test]
fn sums_do_not_overflow() {
    let weight = TensorData::new(vec![-1.0_f32; MOST_INPUTS], [MOST_INPUTS, 1]);
    let of = |engine| {
        let layout = WeightLayout::InOut;
        let weight = FlexTensor::from_data(weight.clone());
        PackedLinear::pack(weight, None, layout, ProductType::Int8, engine).unwrap()
    };
    for engine in [Engine::Plain, Engine::detected(ProductType::Int8)] {
        for sign in [1.0, -1.0] {
            let x = vec![sign; MOST_INPUTS];
            let found = of(engine).forward(&x, PackedActivation::Identity)[0];
            let expected = -sign * MOST_INPUTS as f32;
            assert!(
                (found / expected - 1.0).abs() < 1e-5,
                "{found} for {expected}"
            );
        }
    }
    let more = TensorData::new(vec![1.0_f32; MOST_INPUTS + 1], [MOST_INPUTS + 1, 1]);
    let layout = WeightLayout::InOut;
    let more = FlexTensor::from_data(more);
    assert!(PackedLinear::pack(more, None, layout, ProductType::Int8, Engine::Plain).is_none());
}

#[test]
fn no_rows_and_no_outputs() {
    for products in TYPES {
        let engine = Engine::detected(products);
        let some = layer([4, 3], products, engine, WeightLayout::InOut);
        assert!(some.forward(&[], PackedActivation::Identity).is_empty());
        let none = FlexTensor::from_data(TensorData::new(Vec::<f32>::new(), [4, 0]));
        let none = PackedLinear::pack(none, None, WeightLayout::InOut, products, engine).unwrap();
        assert!(
            none.forward(&[1.0; 8], PackedActivation::Identity)
                .is_empty()
        );
    }
}
