//! The token's own chunk exactly, and the state and routing key of each earlier chunk.

use burn::tensor::{DType, Tensor};

use super::growing::Growing;
use super::{add, bytes_of, joined};
use crate::attention::AttentionInput;
use crate::compression::{CompressionBases, read_state};
use crate::config::PublishedConfig;
use crate::joint::{self, Window};
use crate::published::{PublishedRouting, states};
use crate::routing;

#[derive(Debug, Clone)]
pub(super) struct PublishedCache {
    config: PublishedConfig,
    /// Own chunk.
    keys: Growing,
    values: Growing,
    /// K_bᵀV_b. `[B, H, C, r, r]`
    states: Option<Tensor<5>>,
    /// h_b. `[B, H, C, D]`
    summaries: Option<Tensor<4>>,
    /// S_c of the current chunk. `[B, H, 1, r, r]`
    state: Option<Tensor<5>>,
}

impl PublishedCache {
    pub fn new(config: PublishedConfig) -> Self {
        Self {
            keys: Growing::within(config.chunk_size),
            values: Growing::within(config.chunk_size),
            config,
            states: None,
            summaries: None,
            state: None,
        }
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes()
            + self.values.bytes()
            + self.states.as_ref().map_or(0, bytes_of)
            + self.state.as_ref().map_or(0, bytes_of)
            + self.summaries.as_ref().map_or(0, bytes_of)
    }

    pub fn feed(
        &mut self,
        routing: Option<&PublishedRouting>,
        bases: Option<&CompressionBases>,
        piece: AttentionInput,
    ) -> Tensor<4> {
        let [b, _, length, _] = piece.query.dims();
        let hidden = piece.hidden_states.dims()[2];
        let mut outputs = Vec::new();
        let mut start = 0;
        while start < length {
            let n = (self.config.chunk_size - self.keys.len()).min(length - start);
            let part = |x: &Tensor<4>| x.clone().narrow(2, start, n);
            self.keys.append(part(&piece.key));
            self.values.append(part(&piece.value));
            outputs.extend(self.attend(part(&piece.query), piece.scale, bases));
            if self.keys.len() == self.config.chunk_size {
                let last =
                    piece
                        .hidden_states
                        .clone()
                        .slice([0..b, start + n - 1..start + n, 0..hidden]);
                self.end_chunk(routing, bases, last);
            }
            start += n;
        }
        Tensor::cat(outputs, 2)
    }

    /// Output of the last tokens appended.
    fn attend(
        &self,
        query: Tensor<4>,
        scale: f64,
        bases: Option<&CompressionBases>,
    ) -> Option<Tensor<4>> {
        let (keys, values) = self.keys.all().zip(self.values.all())?;
        let query: Tensor<5> = query.unsqueeze_dim(2);
        let window = Window {
            keys: keys.unsqueeze_dim(2),
            values: values.unsqueeze_dim(2),
        };
        let own = joint::plain(query.clone() * scale, None, None, None, window, None).output;
        let output = match self.state.clone() {
            None => own,
            Some(state) => own + read_state(query, state, bases),
        };
        Some(output.squeeze_dim(2))
    }

    /// The own chunk is complete: it becomes a state, and the state of the next
    /// chunk is mixed.
    ///
    /// `last` is the attention input of its last token. `[B, 1, hidden]`
    fn end_chunk(
        &mut self,
        routing: Option<&PublishedRouting>,
        bases: Option<&CompressionBases>,
        last: Tensor<3>,
    ) {
        let whole = self.keys.all().zip(self.values.all());
        let Some((routing, (keys, values))) = routing.zip(whole) else {
            return;
        };
        let [_, h, size, d] = keys.dims();
        let receiver = routing.receivers(last.clone(), h);
        let summary = routing.summaries(last, h);
        let state = states(keys.unsqueeze_dim(2), values.unsqueeze_dim(2), bases);
        let all = add(&mut self.states, state, joined).clone();
        let offers = add(&mut self.summaries, summary.cast(DType::F32), joined).clone();
        let weights = routing::weights(receiver, offers, 1.0 / (d as f64).sqrt());
        self.state = Some(routing::mix(weights, all));
        self.keys.drop_between(0, size);
        self.values.drop_between(0, size);
    }
}
