//! Sinks and near field exactly, and the far field of the arm.

use burn::tensor::{DType, Tensor};

use super::growing::Growing;
use super::{add, bytes_of, joined};
use crate::attention::AttentionInput;
use crate::compression::read_state;
use crate::config::MomentsConfig;
use crate::dense;
use crate::exact::FarTokens;
use crate::joint::{self, Attended, FUSED_FROM, Shared, Window};
use crate::routing;
use crate::spans::{Merged, Opening};
use crate::summary::Summary;
use crate::tuning::Own;
use bsbr_kernels::Grid;

/// Cache of the local arm (without `moments`) and of the moments arm.
#[derive(Debug, Clone)]
pub(super) struct WindowCache {
    grid: Grid,
    moments: Option<MomentsConfig>,
    tokens: usize,
    /// Sinks, then near field.
    keys: Growing,
    values: Growing,
    summary: Option<Summary>,
    /// S_c of the current chunk. `[B, H, 1, r, r]`
    state: Option<Tensor<5>>,
    far_tokens: Option<FarTokens>,
    merged: Option<Merged>,
    /// Attention inputs of sinks and near field, if a learned routing reads them.
    /// `[B, 1, n, hidden]`
    inputs: Growing,
    /// h_b of a learned routing. `[B, H, C, D]`
    offers: Option<Tensor<4>>,
}

impl WindowCache {
    pub fn new(grid: Grid, moments: Option<MomentsConfig>) -> Self {
        let room = grid.sinks + grid.window();
        Self {
            grid,
            moments,
            tokens: 0,
            keys: Growing::within(room),
            values: Growing::within(room),
            summary: None,
            state: None,
            far_tokens: None,
            merged: None,
            inputs: Growing::within(room),
            offers: None,
        }
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes()
            + self.values.bytes()
            + self.summary.as_ref().map_or(0, Summary::bytes)
            + self.state.as_ref().map_or(0, bytes_of)
            + self.far_tokens.as_ref().map_or(0, FarTokens::bytes)
            + self.merged.as_ref().map_or(0, Merged::bytes)
            + self.inputs.bytes()
            + self.offers.as_ref().map_or(0, bytes_of)
    }

    pub fn feed(&mut self, own: Own<'_>, piece: AttentionInput) -> Tensor<4> {
        let query = piece.query * piece.scale;
        let length = query.dims()[2];
        let hidden: Tensor<4> = piece.hidden_states.unsqueeze_dim(1);
        let mut outputs = Vec::new();
        let mut start = 0;
        while start < length {
            let end = self.grid.end_of(self.tokens);
            let n = (end - self.tokens).min(length - start);
            let part = |x: &Tensor<4>| x.clone().narrow(2, start, n);
            let query = part(&query);
            self.keys.append(part(&piece.key));
            self.values.append(part(&piece.value));
            if own.routing.is_some() {
                self.inputs.append(part(&hidden));
            }
            self.tokens += n;
            outputs.extend(self.attend(own, query.clone()));
            if self.tokens == end && end > self.grid.sinks {
                let last = query.narrow(2, n - 1, 1);
                let receiver = match own.routing {
                    // The query is scaled already.
                    None => last,
                    Some(routing) => {
                        let heads = last.dims()[1];
                        let input = hidden.clone().narrow(2, start + n - 1, 1).squeeze_dim(1);
                        routing.receivers(input, heads) * piece.scale
                    }
                };
                self.begin_chunk(own, receiver);
            }
            start += n;
        }
        Tensor::cat(outputs, 2)
    }

    /// Output of the last tokens appended.
    fn attend(&self, own: Own<'_>, query: Tensor<4>) -> Option<Tensor<4>> {
        let (keys, values) = self.keys.all().zip(self.values.all())?;
        let n = query.dims()[2];
        let merged = self.merged.as_ref();
        let shared = self.summary.as_ref().zip(self.moments.as_ref());
        let shared = shared.map(|(summary, config)| {
            let clusters = config.as_keys(own, summary, query.dtype());
            match merged {
                None => clusters,
                Some(all) => {
                    let merged = config.as_keys(own, &all.summary, query.dtype());
                    merged.followed_by(clusters)
                }
            }
        });
        let chooses = self.far_tokens.is_some() || merged.is_some();
        let attended = if n < FUSED_FROM || chooses {
            let window = Window {
                keys: keys.unsqueeze_dim(2),
                values: values.unsqueeze_dim(2),
            };
            let far = self.far_tokens.as_ref();
            let spans = merged.map(|merged| [merged.spans()]);
            let opening = merged.zip(spans.as_ref());
            joint::plain(
                query.clone().unsqueeze_dim(2),
                shared.as_ref(),
                None,
                opening.map(|(merged, spans)| Opening { merged, spans }),
                window,
                far,
            )
        } else {
            fused(query.clone(), shared.as_ref(), keys, values)
        };
        let output = match self.state.clone().zip(attended.cluster_mass) {
            None => attended.output,
            Some((state, mass)) => {
                attended.output + read_state(query.unsqueeze_dim(2), state, own.bases) * mass
            }
        };
        Some(output.squeeze_dim(2))
    }

    /// A chunk has ended: the oldest near chunk moves to the far field, and the new
    /// chunk's state is mixed, routed by `receiver`, which is scaled by σ.
    fn begin_chunk(&mut self, own: Own<'_>, receiver: Tensor<4>) {
        let (sinks, size) = (self.grid.sinks, self.grid.chunk_size);
        if self.keys.len() < sinks + self.grid.window() {
            return;
        }
        let leaving = self
            .keys
            .part(sinks, size)
            .zip(self.values.part(sinks, size));
        if let Some((config, (keys, values))) = self.moments.clone().zip(leaving) {
            self.summarise(&config, own, keys.unsqueeze_dim(2), values.unsqueeze_dim(2));
        }
        if let Some((routing, inputs)) = own.routing.zip(self.inputs.part(sinks, size)) {
            let offer = routing
                .summaries(inputs.mean_dim(2).squeeze_dim(1), receiver.dims()[1])
                .cast(DType::F32);
            add(&mut self.offers, offer, joined);
            self.inputs.drop_between(sinks, sinks + size);
        }
        self.keys.drop_between(sinks, sinks + size);
        self.values.drop_between(sinks, sinks + size);
        self.state = self.summary.as_ref().and_then(|summary| {
            let states = summary.state.clone()?;
            let offers = self.offers.clone().unwrap_or_else(|| summary.mean_key());
            let weights = routing::weights(receiver, offers, 1.0);
            Some(own.state(routing::mix(weights, states)))
        });
    }

    fn summarise(
        &mut self,
        config: &MomentsConfig,
        own: Own<'_>,
        keys: Tensor<5>,
        values: Tensor<5>,
    ) {
        let (summary, assignment) = config.summarise(keys.clone(), values.clone(), own.bases);
        if config.looks_up() {
            let tokens = FarTokens::new(config, &assignment, keys, values);
            add(&mut self.far_tokens, tokens, FarTokens::append);
        }
        add(&mut self.summary, summary, Summary::append);
        let last = self.summary.as_ref().and_then(|all| config.merge_last(all));
        if let Some(last) = last {
            add(&mut self.merged, last, Merged::append);
        }
    }
}

/// The kernel over clusters, sinks and near field.
fn fused(
    query: Tensor<4>,
    shared: Option<&Shared>,
    keys: Tensor<4>,
    values: Tensor<4>,
) -> Attended {
    let [_, _, n, d] = query.dims();
    let seen = keys.dims()[2];
    let Some(shared) = shared else {
        return Attended {
            output: dense::attend(query, keys, values, 1.0).unsqueeze_dim(2),
            cluster_mass: None,
        };
    };
    let (shared_keys, shared_values) = shared.extended();
    let list = |clusters: Tensor<4>, tokens: Tensor<4>| {
        let tokens = joint::extended(tokens, seen, 0.0);
        Tensor::cat(vec![clusters, tokens], 2).unsqueeze_dim(2)
    };
    let output = joint::fused(
        joint::extended(query, n, 1.0).unsqueeze_dim(2),
        list(shared_keys, keys),
        list(shared_values, values),
        1.0,
    );
    Attended {
        output: output.clone().narrow(4, 0, d),
        cluster_mass: Some(output.narrow(4, d, 1)),
    }
}
