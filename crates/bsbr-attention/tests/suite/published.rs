//! The published arm compared with its formula, written out in f64.

use crate::common::{Sizes, arm, assert_close, input, published, streamed, test_device};
use burn::tensor::{Tensor, TensorData};

/// Row-major numbers of any shape.
struct Array {
    data: Vec<f64>,
    dims: Vec<usize>,
}

impl Array {
    fn of<const K: usize>(x: &Tensor<K>) -> Self {
        Self {
            data: x.to_data().iter::<f64>().collect(),
            dims: x.dims().to_vec(),
        }
    }

    fn at<const K: usize>(&self, index: [usize; K]) -> f64 {
        let place = index.iter().zip(&self.dims).fold(0, |p, (i, n)| p * n + i);
        self.data[place]
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::MIN, f64::max);
    let masses: Vec<f64> = logits.iter().map(|l| (l - highest).exp()).collect();
    let total: f64 = masses.iter().sum();
    masses.iter().map(|m| m / total).collect()
}

#[test]
fn the_published_arm_follows_its_formula() {
    let device = test_device();
    let (s, sizes) = (
        4,
        Sizes {
            batch: 2,
            heads: 3,
            tokens: 22,
            head_dim: 4,
        },
    );
    let Sizes {
        batch,
        heads,
        tokens,
        head_dim: d,
    } = sizes;
    let attention = arm(&published(s, 1), sizes, &device);
    let mut input = input(sizes, 31, &device);
    // A scale other than 1/√D must not reach the routing nor the retrieved term.
    input.scale = 0.37;
    let routing = attention.routing.as_ref().expect("the arm has a routing");
    let [w_r, w_h] = [&routing.retrieval, &routing.summary].map(|l| Array::of(&l.weight.val()));
    let [b_r, b_h] = [&routing.retrieval, &routing.summary]
        .map(|l| Array::of(&l.bias.as_ref().expect("a bias").val()));
    let [q, k, v] = [&input.query, &input.key, &input.value].map(Array::of);
    let a = Array::of(&input.hidden_states);

    // a[token] W + b, of one head
    let project = |w: &Array, bias: &Array, b: usize, token: usize, head: usize| -> Vec<f64> {
        (0..d)
            .map(|j| {
                let column = head * d + j;
                let sum: f64 = (0..heads * d)
                    .map(|i| a.at([b, token, i]) * w.at([i, column]))
                    .sum();
                sum + bias.at([column])
            })
            .collect()
    };
    let mut expected = Vec::new();
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..tokens {
                let c = i / s;
                let logits: Vec<f64> = (c * s..=i)
                    .map(|j| {
                        (0..d)
                            .map(|x| q.at([b, h, i, x]) * k.at([b, h, j, x]))
                            .sum::<f64>()
                    })
                    .map(|dot| input.scale * dot)
                    .collect();
                let weights = softmax(&logits);
                let mut out: Vec<f64> = (0..d)
                    .map(|y| {
                        weights
                            .iter()
                            .enumerate()
                            .map(|(n, w)| w * v.at([b, h, c * s + n, y]))
                            .sum()
                    })
                    .collect();
                if c > 0 {
                    let r = project(&w_r, &b_r, b, c * s - 1, h);
                    let scores: Vec<f64> = (0..c)
                        .map(|chunk| {
                            let offer = project(&w_h, &b_h, b, (chunk + 1) * s - 1, h);
                            r.iter().zip(&offer).map(|(r, h)| r * h).sum::<f64>()
                                / (d as f64).sqrt()
                        })
                        .collect();
                    for (chunk, w) in softmax(&scores).into_iter().enumerate() {
                        for (y, out) in out.iter_mut().enumerate() {
                            for j in chunk * s..(chunk + 1) * s {
                                for x in 0..d {
                                    *out += w
                                        * q.at([b, h, i, x])
                                        * k.at([b, h, j, x])
                                        * v.at([b, h, j, y]);
                                }
                            }
                        }
                    }
                }
                expected.extend(out.iter().map(|x| *x as f32));
            }
        }
    }
    let expected = TensorData::new(expected, [batch, heads, tokens, d]);
    let expected = Tensor::<4>::from_data(expected, &device);
    let by_token = streamed(&attention, &input, &[1]);
    assert_close(&attention.forward(input), &expected, 1e-5, "parallel");
    assert_close(&by_token, &expected, 1e-5, "token by token");
}

#[test]
fn routing_starts_as_means_of_the_projections() {
    let device = test_device();
    let weight = Tensor::<2>::from_floats(
        [[1., 2., 3., 5., 10., 20.], [0., 1., 0., 3., 0., 5.]],
        &device,
    );
    let bias = Tensor::<1>::from_floats([2., 4., 6., 8., 10., 12.], &device);
    let routing = bsbr_attention::PublishedRouting::from_qkv(weight, bias);
    let numbers = |x: &[f32], y: Vec<f32>| assert_eq!(x, y.as_slice());
    let row = |x: Tensor<2>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    let line = |x: Tensor<1>| x.to_data().iter::<f32>().collect::<Vec<_>>();
    numbers(&[2., 3.5, 0., 2.], row(routing.retrieval.weight.val()));
    numbers(&[6.5, 12.5, 0., 4.], row(routing.summary.weight.val()));
    let bias_of = |l: &burn::nn::Linear| line(l.bias.as_ref().expect("a bias").val());
    numbers(&[4., 6.], bias_of(&routing.retrieval));
    numbers(&[8., 10.], bias_of(&routing.summary));
}
