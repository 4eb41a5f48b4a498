//! Sums of gradients by collective operations among devices.

use bsbr_gpt2::Gpt2;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{Device, Tensor, TensorData};

/// A collective operation: each device passes a tensor of the same shape, and receives the sum.
pub(crate) trait Collective {
    fn sum<const D: usize>(&self, own: Tensor<D>) -> Tensor<D>;
}

/// Burn's all-reduce among these devices.
pub(crate) struct AllReduce<'a>(pub &'a [Device]);

impl Collective for AllReduce<'_> {
    fn sum<const D: usize>(&self, own: Tensor<D>) -> Tensor<D> {
        all_reduce(own, ReduceOperation::Sum, self.0.to_vec()).resolve()
    }
}

/// The sum of every device's gradients; each device calls this with its own.
///
/// A parameter without a gradient on any device stays without one: the optimiser would decay a
/// parameter whose gradient is zero.
pub(crate) fn sum_over_devices(
    model: &Gpt2,
    grads: GradientsParams,
    collective: &impl Collective,
) -> GradientsParams {
    let mut present = Present {
        grads: &grads,
        found: Vec::new(),
    };
    model.visit(&mut present);
    let found = TensorData::new(present.found.clone(), [present.found.len()]);
    let own = Tensor::<1>::from_data(found, &model.device().inner());
    let somewhere: Vec<f32> = collective.sum(own).into_data().iter::<f32>().collect();
    let mut sum = Sum {
        grads,
        somewhere: somewhere.into_iter(),
        total: GradientsParams::new(),
        collective,
    };
    model.visit(&mut sum);
    sum.total
}

/// Which parameters have a gradient here, as ones and zeros in the order of the model.
struct Present<'a> {
    grads: &'a GradientsParams,
    found: Vec<f32>,
}

impl ModuleVisitor for Present<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let found = self.grads.get::<D>(param.id).is_some();
        self.found.push(f32::from(u8::from(found)));
    }
}

struct Sum<'a, C> {
    grads: GradientsParams,
    somewhere: std::vec::IntoIter<f32>,
    total: GradientsParams,
    collective: &'a C,
}

impl<C: Collective> ModuleVisitor for Sum<'_, C> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.somewhere.next().is_none_or(|count| count == 0.0) {
            return;
        }
        let own = match self.grads.remove::<D>(param.id) {
            Some(own) => own,
            None => param.val().inner().zeros_like(),
        };
        self.total.register(param.id, self.collective.sum(own));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use bsbr_gpt2::{Gpt2Config, TokenBatch};

    use super::*;

    /// Two threads that sum like two devices.
    #[derive(Default)]
    struct Pair {
        slot: Mutex<Vec<TensorData>>,
    }

    struct Member<'a> {
        pair: &'a Pair,
        barrier: &'a Barrier,
    }

    impl Collective for Member<'_> {
        fn sum<const D: usize>(&self, own: Tensor<D>) -> Tensor<D> {
            let device = own.device();
            self.pair.slot.lock().unwrap().push(own.into_data());
            self.barrier.wait();
            let all = self.pair.slot.lock().unwrap().clone();
            self.barrier.wait();
            self.pair.slot.lock().unwrap().clear();
            self.barrier.wait();
            assert_eq!(all.len(), 2, "both take part");
            all.into_iter()
                .map(|data| Tensor::from_data(data, &device))
                .reduce(|a, b| a + b)
                .unwrap()
        }
    }

    fn gradients(model: &Gpt2, ids: &[u32], layers: usize) -> GradientsParams {
        let batch = TokenBatch::single(ids).unwrap();
        let mut x = model.embed(&batch, 0);
        for block in &model.h[..layers] {
            x = block.forward(x, batch.padding());
        }
        GradientsParams::from_grads(x.powi_scalar(2).sum().backward(), model)
    }

    #[derive(Default)]
    struct Values<'a> {
        grads: Option<&'a GradientsParams>,
        all: Vec<Option<Vec<f32>>>,
    }

    impl ModuleVisitor for Values<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self.grads.and_then(|grads| grads.get::<D>(param.id));
            self.all
                .push(grad.map(|grad| grad.into_data().iter::<f32>().collect()));
        }
    }

    #[test]
    fn both_get_the_sum_of_both_and_what_neither_has_stays_without() {
        let config = Gpt2Config {
            vocab_size: 11,
            n_positions: 8,
            n_embd: 8,
            n_layer: 3,
            n_head: 2,
            bos_token_id: None,
            eos_token_id: None,
            ..Gpt2Config::default()
        };
        let model = crate::init(&config, 3, &Device::default()).unwrap().train();
        // One has gradients in two blocks, the other in one; neither in the third.
        let work: [(&[u32], usize); 2] = [(&[1, 2, 3, 4], 2), (&[5, 6, 7], 1)];
        let values = |grads: &GradientsParams| {
            let mut values = Values {
                grads: Some(grads),
                ..Values::default()
            };
            model.visit(&mut values);
            values.all
        };
        let [first, second] = work.map(|(ids, layers)| gradients(&model, ids, layers));
        let expected = values(&crate::gradients::accumulate(&model, Some(first), second));

        let (pair, barrier) = (Pair::default(), Barrier::new(2));
        let found: Vec<_> = std::thread::scope(|scope| {
            let workers = work.map(|(ids, layers)| {
                let model = model.valid().train();
                let member = Member {
                    pair: &pair,
                    barrier: &barrier,
                };
                scope.spawn(move || {
                    let own = gradients(&model, ids, layers);
                    sum_over_devices(&model, own, &member)
                })
            });
            workers.map(|worker| worker.join().unwrap()).into()
        });
        for grads in &found {
            assert_eq!(values(grads), expected);
        }
        assert!(expected.iter().any(Option::is_none));
        assert!(expected.iter().filter(|grad| grad.is_some()).count() > 10);
    }
}
