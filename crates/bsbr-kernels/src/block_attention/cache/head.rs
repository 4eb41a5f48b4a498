//! The cache of one head of one sequence.

use std::ops::Range;

use super::stored::{Reader, Sizes};
use crate::block_attention::kept::{Grids, KeptRows, Lie};
use crate::block_attention::merged::{self, Side};
use crate::block_attention::plan::{Seen, blocks};
use crate::block_attention::queries::{Attending, Near, NearRows, Queries, SharedKeys, TOGETHER};
use crate::block_attention::settings::{BlockAttention, KvBits};
use crate::block_attention::stored::{StoredCacheError, StoredLists, StoredNumbers};
use crate::block_attention::summarise::{Summariser, log_count};
use crate::block_attention::tokens::{Members, Unpacked};
use crate::clusters::Merge;
use crate::cpu::block::QUERIES;
use crate::cpu::matrix::Mat;

/// The minimum number of tokens by which the near field of a head grows at a time.
const STEP: usize = 64;

/// Means decoded at a time if each is read once. They fit into the processor's cache.
const AT_ONCE: usize = 128;

/// One head of one sequence.
#[derive(Clone, Debug)]
pub(super) struct HeadCache {
    settings: BlockAttention,
    d: usize,
    /// Number of tokens fed.
    tokens: usize,
    /// Keys and values of the sinks, once they are no longer near tokens. `[sinks, D]`
    sinks: [Vec<f32>; 2],
    /// Keys and values of tokens from `near` on. `[n, D]`
    window: [Vec<f32>; 2],
    near: usize,
    /// Keys and values of all tokens, instead of a window, if near ones are rounded too.
    rounded: Option<[KeptRows; 2]>,
    /// Mean keys and values of the clusters of chunks in no span. `[F·G, D]` without spans
    means: [KeptRows; 2],
    /// The end of each cluster's tokens, from the first far chunk's first token. `[F·G]`
    ends: Vec<u32>,
    /// Keys and values of far tokens, cluster by cluster, if they are looked up. `[F·S, D]`
    far: [KeptRows; 2],
    spans: SpansKept,
}

/// What a head keeps of its spans.
#[derive(Clone, Debug)]
struct SpansKept {
    /// Mean keys and values of merged clusters. `[T·G, D]`
    means: [KeptRows; 2],
    /// Mean keys and values of clusters, merged cluster by merged cluster, without empty ones.
    members: [KeptRows; 2],
    /// The numbers of these clusters.
    order: Vec<u32>,
    /// The end of each merged cluster's clusters. `[T·G]`
    ends: Vec<u32>,
}

/// Buffers.
pub(super) struct Scratch {
    attending: Attending,
    summariser: Summariser,
    shared: Shared,
    /// Means of the chunk that leaves. `[G, D]`
    means: [Vec<f32>; 2],
    mean: Vec<f32>,
    merge: Merge,
    /// The clusters of a span. `[K·G, D]`
    span: [Vec<f32>; 2],
}

/// Sinks and clusters as queries see them.
#[derive(Default)]
struct Shared {
    /// Decoded keys and values, if several blocks of queries read them.
    decoded: Option<[Vec<f32>; 2]>,
    bias: Vec<f32>,
    /// The number of the first cluster in the lists.
    first: usize,
    /// The number of the cluster after the last.
    clusters: usize,
    /// Decoded keys and values of merged clusters, if several blocks of queries read them.
    merged: Option<[Vec<f32>; 2]>,
    merged_bias: Vec<f32>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            attending: Attending::default(),
            summariser: Summariser::default(),
            shared: Shared::default(),
            means: Default::default(),
            mean: Vec::new(),
            merge: Merge::default(),
            span: Default::default(),
        }
    }
}

impl SpansKept {
    fn new(d: usize, of_means: KvBits) -> Self {
        let kept = |lie| KeptRows::new(d, of_means, lie);
        Self {
            means: [kept(Lie::Rows), kept(Lie::Rows)],
            members: [kept(Lie::Columns), kept(Lie::Rows)],
            order: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Lists of rows, with their names.
    fn kept(&self) -> [(&'static str, &KeptRows); 4] {
        let [keys, values] = &self.means;
        let [of_keys, of_values] = &self.members;
        [
            ("merged.keys", keys),
            ("merged.values", values),
            ("members.keys", of_keys),
            ("members.values", of_values),
        ]
    }

    /// The size in bytes.
    fn bytes(&self) -> usize {
        let kept = self.kept().map(|(_, rows)| rows.bytes());
        kept.iter().sum::<usize>() + 4 * (self.order.len() + self.ends.len())
    }
}

impl HeadCache {
    /// An empty cache for `d` dimensions; near tokens are rounded too if `rounds_near`.
    pub(super) fn new(settings: BlockAttention, d: usize, rounds_near: bool) -> Self {
        let kept = |bits, lie| KeptRows::new(d, bits, lie);
        let (bits, of_means) = (settings.kv_bits, settings.kv_bits.of_means());
        Self {
            settings,
            d,
            tokens: 0,
            sinks: Default::default(),
            window: Default::default(),
            near: 0,
            rounded: rounds_near.then(|| [(); 2].map(|()| kept(bits, Lie::Rows))),
            means: [kept(of_means, Lie::Rows), kept(of_means, Lie::Rows)],
            ends: Vec::new(),
            far: [kept(bits, Lie::Columns), kept(bits, Lie::Rows)],
            spans: SpansKept::new(d, of_means),
        }
    }

    /// The number of clusters in spans.
    fn spanned(&self) -> usize {
        self.spans.ends.len() * self.settings.spans.chunks
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        let exact = self.sinks.iter().chain(&self.window).map(Vec::len);
        let rounded = self.rounded.iter().flatten();
        let kept = self.means.iter().chain(&self.far).chain(rounded);
        let kept = kept.map(KeptRows::bytes);
        4 * (exact.sum::<usize>() + self.ends.len()) + kept.sum::<usize>() + self.spans.bytes()
    }

    /// Adds the contents as lists under names that begin with `name`.
    pub(super) fn store<'a>(&'a self, name: &str, lists: &mut StoredLists<'a>) {
        for (part, numbers) in [("sinks", &self.sinks), ("window", &self.window)] {
            for (of, numbers) in ["keys", "values"].into_iter().zip(numbers) {
                let name = format!("{name}.{part}.{of}");
                lists.push((name, StoredNumbers::F32(numbers.into())));
            }
        }
        lists.push((
            format!("{name}.ends"),
            StoredNumbers::U32((&self.ends).into()),
        ));
        let kept = [("means", Some(&self.means)), ("far", Some(&self.far))];
        for (part, rows) in kept.into_iter().chain([("rounded", self.rounded.as_ref())]) {
            for (of, rows) in ["keys", "values"]
                .into_iter()
                .zip(rows.into_iter().flatten())
            {
                rows.store(&format!("{name}.{part}.{of}"), lists);
            }
        }
        if self.settings.spans.chunks > 0 {
            for (part, numbers) in [("order", &self.spans.order), ("spans", &self.spans.ends)] {
                lists.push((format!("{name}.{part}"), StoredNumbers::U32(numbers.into())));
            }
            for (part, rows) in self.spans.kept() {
                rows.store(&format!("{name}.{part}"), lists);
            }
        }
    }

    /// The head that stored these lists, with the settings of this empty one.
    pub(super) fn restored(
        mut self,
        name: &str,
        tokens: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<Self, StoredCacheError> {
        let (d, settings) = (self.d, self.settings);
        let sizes = Sizes::of(&settings, tokens);
        let window = match self.rounded {
            None => tokens - sizes.near,
            Some(_) => 0,
        };
        let clusters = sizes.chunks * settings.clusters;
        let merged = settings.spans.of(sizes.chunks) * settings.clusters;
        let unmerged = clusters - merged * settings.spans.chunks;
        let far = match settings.exact_clusters {
            0 => 0,
            _ => sizes.chunks * settings.grid.chunk_size,
        };
        for (number, of) in ["keys", "values"].into_iter().enumerate() {
            let part = |part: &str| format!("{name}.{part}.{of}");
            self.sinks[number] = reader.list(&part("sinks"), sizes.sinks * d)?;
            self.window[number] = reader.list(&part("window"), window * d)?;
            let rows = |rows: &KeptRows, name: &str, count, reader: &mut Reader<'_, '_>| {
                rows.clone().restored(&part(name), count, reader)
            };
            self.means[number] = rows(&self.means[number], "means", unmerged, reader)?;
            self.far[number] = rows(&self.far[number], "far", far, reader)?;
            if let Some(rounded) = &mut self.rounded {
                rounded[number] = rows(&rounded[number], "rounded", tokens, reader)?;
            }
        }
        self.ends = reader.list(&format!("{name}.ends"), clusters)?;
        self.check_ends(name)?;
        if settings.spans.chunks > 0 {
            self.spans = self.spans_restored(name, merged, reader)?;
        }
        self.tokens = tokens;
        self.near = sizes.near;
        Ok(self)
    }

    /// Checks that the clusters of each far chunk contain exactly its tokens.
    fn check_ends(&self, name: &str) -> Result<(), StoredCacheError> {
        let (g, size) = (self.settings.clusters, self.settings.grid.chunk_size);
        let chunks = self.ends.chunks_exact(g.max(1)).enumerate();
        let mut before = 0;
        for (chunk, ends) in chunks {
            let rises = ends.iter().all(|&end| {
                let rises = end >= before;
                before = end;
                rises
            });
            let expected = (chunk + 1) * size;
            if !rises || before as usize != expected {
                return Err(StoredCacheError::Unlike {
                    name: format!("{name}.ends"),
                    found: format!("{ends:?} for chunk {chunk}"),
                    expected: format!("numbers that rise to {expected}"),
                });
            }
        }
        Ok(())
    }

    /// What such a head keeps of spans, from stored lists.
    fn spans_restored(
        &self,
        name: &str,
        merged: usize,
        reader: &mut Reader<'_, '_>,
    ) -> Result<SpansKept, StoredCacheError> {
        let empty = SpansKept::new(self.d, self.settings.kv_bits.of_means());
        let used = merged * self.settings.spans.chunks;
        let used = (0..used).filter(|&cluster| !self.members(cluster).is_empty());
        let members = used.clone().count();
        let order: Vec<u32> = reader.list(&format!("{name}.order"), members)?;
        let ends: Vec<u32> = reader.list(&format!("{name}.spans"), merged)?;
        // Each span's merged clusters contain exactly its clusters.
        let (g, of_span) = (
            self.settings.clusters,
            self.settings.spans.chunks * self.settings.clusters,
        );
        let mut used = used.peekable();
        let mut start = 0;
        for (span, ends) in ends.chunks_exact(g).enumerate() {
            let mut before = start;
            let rises = ends.iter().all(|&end| {
                let rises = end >= before;
                before = end;
                rises
            });
            let expected: Vec<u32> = std::iter::from_fn(|| {
                used.next_if(|&cluster| cluster < (span + 1) * of_span)
                    .map(|cluster| cluster as u32)
            })
            .collect();
            let found = order.get(start as usize..before as usize);
            let mut found = found.map(<[u32]>::to_vec).unwrap_or_default();
            found.sort_unstable();
            if !rises || found != expected {
                return Err(StoredCacheError::Unlike {
                    name: format!("{name}.order"),
                    found: format!("{found:?} for span {span}"),
                    expected: format!("{expected:?} in some order"),
                });
            }
            start = before;
        }
        let mut kept = |part: &str, rows: &KeptRows, count| {
            rows.clone()
                .restored(&format!("{name}.{part}"), count, reader)
        };
        let [keys, values] = &empty.means;
        let [of_keys, of_values] = &empty.members;
        Ok(SpansKept {
            means: [
                kept("merged.keys", keys, merged)?,
                kept("merged.values", values, merged)?,
            ],
            members: [
                kept("members.keys", of_keys, members)?,
                kept("members.values", of_values, members)?,
            ],
            order,
            ends,
        })
    }

    /// Writes the output of the next tokens.
    pub(super) fn feed(
        &mut self,
        [q, k, v]: [Mat<'_>; 3],
        scale: f32,
        rows: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        scratch.shared.clear(rows.len() > QUERIES);
        let mut start = 0;
        while start < rows.len() {
            let chunk = self.tokens.saturating_sub(self.settings.grid.sinks)
                / self.settings.grid.chunk_size;
            let end = self.settings.grid.start_of(chunk + 1);
            let len = (end - self.tokens).min(rows.len() - start);
            let new = [k, v].map(|from| from.rows(start, len));
            match &mut self.rounded {
                None => {
                    for (window, new) in self.window.iter_mut().zip(new) {
                        append(window, new, self.d);
                    }
                }
                Some(rounded) => {
                    for (rounded, new) in rounded.iter_mut().zip(new) {
                        keep_each(rounded, new, self.d);
                    }
                }
            }
            let seen = self.settings.seen(chunk);
            if seen.far > 0 {
                self.bring_up(&mut scratch.shared);
            }
            let queries = self.tokens..self.tokens + len;
            self.tokens += len;
            let rows = &mut rows[start..start + len];
            self.attend(q.rows(start, len), scale, queries, seen, rows, scratch);
            if self.tokens == end {
                self.begin_chunk(chunk + 1, scratch);
            }
            start += len;
        }
    }

    /// Writes the output of queries of one chunk, which are the last tokens of the window.
    fn attend(
        &self,
        q: Mat<'_>,
        scale: f32,
        queries: Range<usize>,
        seen: Seen,
        rows: &mut [&mut [f32]],
        scratch: &mut Scratch,
    ) {
        let start = queries.start;
        let tokens = self.window[0].len() / self.d.max(1);
        let [k, v] = match &self.rounded {
            None => self
                .window
                .each_ref()
                .map(|x| NearRows::Whole(Mat::dense(x, tokens, self.d))),
            Some(rounded) => rounded.each_ref().map(NearRows::Kept),
        };
        let near = Near {
            k,
            v,
            first: self.near,
        };
        let Scratch {
            attending, shared, ..
        } = scratch;
        let shared = View { head: self, shared };
        let all: Vec<_> = blocks(queries).collect();
        for some in all.chunks(TOGETHER) {
            let queries: Vec<_> = some
                .iter()
                .map(|block| Queries {
                    q: q.rows(block.start - start, block.len()),
                    first: block.start,
                    scale,
                })
                .collect();
            attending.attend(&queries, near, &shared, seen, &self.settings);
            for (block, one) in some.iter().zip(&attending.blocks) {
                one.write(&mut rows[block.start - start..block.end - start]);
            }
        }
    }

    /// A chunk begins: the oldest near one moves to the far field.
    fn begin_chunk(&mut self, chunk: usize, scratch: &mut Scratch) {
        let (d, size) = (self.d, self.settings.grid.chunk_size);
        let Some(leaving) = self.settings.grid.far_of(chunk).checked_sub(1) else {
            return;
        };
        let start = self.settings.grid.start_of(leaving) - self.near;
        if leaving == 0 {
            // The window started with the sinks.
            for (sinks, window) in self.sinks.iter_mut().zip(&self.window) {
                *sinks = window[..start * d].to_vec();
            }
        }
        if self.settings.clusters > 0 {
            let tokens = self.window[0].len() / d.max(1);
            let leaving = self.window.each_ref().map(|x| {
                let window = Mat::dense(x, tokens, d);
                window.rows(start, size)
            });
            scratch
                .summariser
                .gather(leaving, d, self.settings.clusters);
            Self::keep(
                &mut self.means,
                &mut self.far,
                &mut self.ends,
                &self.settings,
                scratch,
                d,
            );
            self.merge_span(scratch);
        }
        for window in &mut self.window {
            window.drain(..(start + size) * d);
        }
        self.near += start + size;
    }

    /// Stores the chunk that was put in the order of its clusters.
    fn keep(
        means: &mut [KeptRows; 2],
        far: &mut [KeptRows; 2],
        ends: &mut Vec<u32>,
        settings: &BlockAttention,
        scratch: &mut Scratch,
        d: usize,
    ) {
        let Scratch {
            summariser: chunk,
            means: of_chunk,
            mean,
            ..
        } = scratch;
        for of_chunk in of_chunk.iter_mut() {
            of_chunk.clear();
            of_chunk.resize(settings.clusters * d, 0.0);
        }
        mean.clear();
        mean.resize(d, 0.0);
        chunk.average(of_chunk.each_mut().map(Vec::as_mut_slice), mean, d);
        for (means, of_chunk) in means.iter_mut().zip(of_chunk) {
            means.push(of_chunk);
        }
        let mut end = ends.last().copied().unwrap_or(0);
        let mut start = 0;
        for &count in chunk.counts() {
            if settings.exact_clusters > 0 {
                let numbers = start * d..(start + count) * d;
                for (far, ordered) in far.iter_mut().zip(chunk.ordered()) {
                    far.push(&ordered[numbers.clone()]);
                }
            }
            start += count;
            end += count as u32;
            ends.push(end);
        }
    }

    /// Merges the clusters of a span, if its last chunk has become far.
    fn merge_span(&mut self, scratch: &mut Scratch) {
        let (d, g) = (self.d, self.settings.clusters);
        let of_span = self.settings.spans.chunks * g;
        let first = self.spanned();
        if of_span == 0 || self.ends.len() < first + of_span {
            return;
        }
        let Scratch { merge, span, .. } = scratch;
        for (span, means) in span.iter_mut().zip(&self.means) {
            span.resize(of_span * d, 0.0);
            means.decode(0..of_span, span);
        }
        let counts: Vec<usize> = (first..first + of_span)
            .map(|cluster| self.members(cluster).len())
            .collect();
        let count = |cluster: usize| counts[cluster];
        merge.run(&span[0], |cluster| count(cluster) > 0, d, g);
        let kept = &mut self.spans;
        let mut mean = vec![0.0; d];
        for members in merge.groups() {
            let order = members.iter().map(|&cluster| (first + cluster) as u32);
            kept.order.extend(order);
            kept.ends.push(kept.order.len() as u32);
            let sides = kept.members.iter_mut().zip(&mut kept.means);
            let from = self.means.iter().zip(span.iter());
            for ((of_members, of_merged), (means, rows)) in sides.zip(from) {
                of_members.push_rows(means, members);
                mean.fill(0.0);
                merged::average(rows, members, count, &mut mean);
                of_merged.push(&mean);
            }
        }
        for means in &mut self.means {
            means.drop_first(of_span);
        }
    }

    /// Updates the sinks and clusters from the cache.
    fn bring_up(&self, shared: &mut Shared) {
        let spanned = self.spanned();
        if shared.first < spanned {
            // A new span contains all clusters of the lists.
            let sinks = self.settings.grid.sinks;
            shared.bias.truncate(sinks);
            for decoded in shared.decoded.iter_mut().flatten() {
                decoded.truncate(sinks * self.d);
            }
            shared.clusters = shared.clusters.max(spanned);
            shared.first = spanned;
        }
        self.bring_up_merged(shared);
        if shared.bias.is_empty() {
            shared.bias.resize(self.settings.grid.sinks, 0.0);
            for (decoded, sinks) in shared.decoded.iter_mut().flatten().zip(&self.sinks) {
                decoded.extend_from_slice(sinks);
            }
        }
        let rows = shared.clusters..self.ends.len();
        for (decoded, means) in shared.decoded.iter_mut().flatten().zip(&self.means) {
            let start = decoded.len();
            decoded.resize(start + rows.len() * self.d, 0.0);
            let kept = rows.start - spanned..rows.end - spanned;
            means.decode(kept, &mut decoded[start..]);
        }
        let bias = rows.map(|cluster| log_count(self.members(cluster).len()));
        shared.bias.extend(bias);
        shared.clusters = self.ends.len();
    }

    /// The same for merged clusters.
    fn bring_up_merged(&self, shared: &mut Shared) {
        let rows = shared.merged_bias.len()..self.spans.ends.len();
        for (decoded, means) in shared.merged.iter_mut().flatten().zip(&self.spans.means) {
            let start = decoded.len();
            decoded.resize(start + rows.len() * self.d, 0.0);
            means.decode(rows.clone(), &mut decoded[start..]);
        }
        let bias = rows.map(|merged| {
            let clusters = &self.spans.order[merged::range(&self.spans.ends, merged)];
            let tokens = clusters
                .iter()
                .map(|&cluster| self.members(cluster as usize).len());
            log_count(tokens.sum())
        });
        shared.merged_bias.extend(bias);
    }

    /// Decodes sinks and clusters in no span, of keys or of values.
    fn decode(&self, of: usize, rows: Range<usize>, to: &mut Vec<f32>) {
        let (d, sinks) = (self.d, self.settings.grid.sinks);
        to.resize(rows.len() * d, 0.0);
        let own = rows.start.min(sinks)..rows.end.min(sinks);
        let (first, rest) = to.split_at_mut(own.len() * d);
        first.copy_from_slice(&self.sinks[of][own.start * d..own.end * d]);
        let before = sinks + self.spanned();
        let clusters = rows.start.max(before) - before..rows.end.max(before) - before;
        self.means[of].decode(clusters, rest);
    }

    /// The tokens of a cluster.
    fn members(&self, cluster: usize) -> Range<usize> {
        let start = cluster.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[cluster] as usize
    }
}

impl Shared {
    /// Empties the lists. Keys and values are decoded all at once if `decodes`.
    fn clear(&mut self, decodes: bool) {
        *self = Self {
            decoded: decodes.then(Default::default),
            merged: decodes.then(Default::default),
            ..Self::default()
        };
    }
}

/// The far field as a head's queries see it.
struct View<'a> {
    head: &'a HeadCache,
    shared: &'a Shared,
}

impl View<'_> {
    /// Where the lists have a sink or cluster.
    fn place(&self, number: usize) -> usize {
        let sinks = self.head.settings.grid.sinks;
        match number < sinks {
            true => number,
            // Where nothing is read, clusters may be named that the lists no longer have.
            false => number.saturating_sub(self.shared.first).max(sinks),
        }
    }

    /// Rows of keys or values.
    fn rows<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a> {
        let d = self.head.d;
        match &self.shared.decoded {
            Some(all) => Mat::dense(&all[of][self.place(start) * d..], len, d),
            None => {
                self.head.decode(of, start..start + len, decoded);
                Mat::dense(decoded, len, d)
            }
        }
    }
}

impl SharedKeys for View<'_> {
    fn keys<'a>(&'a self, start: usize, len: usize, decoded: &'a mut Vec<f32>) -> Mat<'a> {
        self.rows(0, start, len, decoded)
    }

    fn values<'a>(&'a self, start: usize, len: usize, decoded: &'a mut Vec<f32>) -> Mat<'a> {
        self.rows(1, start, len, decoded)
    }

    fn at_once(&self) -> usize {
        match self.shared.decoded {
            Some(_) => usize::MAX,
            None => AT_ONCE,
        }
    }

    fn bias(&self, start: usize, len: usize) -> &[f32] {
        &self.shared.bias[self.place(start)..][..len]
    }

    fn looked_up<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        let tokens = self.head.members(cluster);
        let [keys, values] = &self.head.far;
        let Unpacked {
            keys: to_keys,
            values: to_values,
        } = unpacked;
        let grids = [
            keys.unpack(tokens.clone(), to_keys),
            values.unpack(tokens.clone(), to_values),
        ];
        Members {
            count: tokens.len(),
            d: self.head.d,
            keys: to_keys,
            values: to_values,
            grids: (!grids[0].scales.is_empty()).then_some(grids),
        }
    }

    fn decoded<'a>(&'a self, cluster: usize, unpacked: &'a mut Unpacked) -> Members<'a> {
        let tokens = self.head.members(cluster);
        let [keys, values] = &self.head.far;
        let of_keys = keys.unpack(tokens.clone(), &mut unpacked.keys);
        for column in unpacked.keys.chunks_exact_mut(tokens.len().max(1)) {
            decode_each(column, of_keys);
        }
        let d = self.head.d;
        let of_values = values.unpack(tokens.clone(), &mut unpacked.values);
        for (number, row) in unpacked.values.chunks_exact_mut(d).enumerate() {
            let of = |list: &[f32], none: f32| list.get(number).copied().unwrap_or(none);
            let (scale, offset) = (of(of_values.scales, 1.0), of(of_values.offsets, 0.0));
            row.iter_mut().for_each(|x| *x = offset + scale * *x);
        }
        Members {
            count: tokens.len(),
            d,
            keys: &unpacked.keys,
            values: &unpacked.values,
            grids: None,
        }
    }

    fn merged<'a>(
        &'a self,
        of: usize,
        start: usize,
        len: usize,
        decoded: &'a mut Vec<f32>,
    ) -> Mat<'a> {
        let d = self.head.d;
        match &self.shared.merged {
            Some(all) => Mat::dense(&all[of][start * d..], len, d),
            None => {
                decoded.resize(len * d, 0.0);
                self.head.spans.means[of].decode(start..start + len, decoded);
                Mat::dense(decoded, len, d)
            }
        }
    }

    fn merged_bias(&self, start: usize, len: usize) -> &[f32] {
        &self.shared.merged_bias[start..start + len]
    }

    fn clusters_of(&self, merged: usize) -> &[u32] {
        &self.head.spans.order[merged::range(&self.head.spans.ends, merged)]
    }

    fn count_of(&self, cluster: usize) -> usize {
        self.head.members(cluster).len()
    }

    fn keys_of<'a>(&'a self, merged: usize, unpacked: &'a mut Vec<f32>) -> Side<'a> {
        let spans = &self.head.spans;
        side(
            &spans.members[0],
            merged::range(&spans.ends, merged),
            unpacked,
        )
    }

    fn values_of<'a>(&'a self, merged: usize, unpacked: &'a mut Vec<f32>) -> Side<'a> {
        let spans = &self.head.spans;
        side(
            &spans.members[1],
            merged::range(&spans.ends, merged),
            unpacked,
        )
    }
}

/// Rows of members as operands of a tile.
fn side<'a>(rows: &'a KeptRows, members: Range<usize>, to: &'a mut Vec<f32>) -> Side<'a> {
    let grids = rows.unpack(members, to);
    Side {
        numbers: to,
        grids: (!grids.scales.is_empty()).then_some(grids),
    }
}

/// Decodes one dimension of several keys.
fn decode_each(column: &mut [f32], grids: Grids<'_>) {
    for (x, scale) in column.iter_mut().zip(grids.scales) {
        *x *= scale;
    }
    for (x, offset) in column.iter_mut().zip(grids.offsets) {
        *x += offset;
    }
}

/// Adds rows one by one, because they are read in pieces of any size.
fn keep_each(rounded: &mut KeptRows, rows: Mat<'_>, d: usize) {
    let mut row = vec![0.0; d];
    for number in 0..rows.height() {
        rows.copy_row(number, &mut row);
        rounded.push(&row);
    }
}

/// Adds rows to a list.
fn append(list: &mut Vec<f32>, rows: Mat<'_>, d: usize) {
    let (at, more) = (list.len(), rows.height() * d);
    if list.capacity() - at < more {
        list.reserve_exact(more.max(STEP * d).max(at / 16));
    }
    list.resize(at + more, 0.0);
    for (row, to) in list[at..].chunks_exact_mut(d.max(1)).enumerate() {
        rows.copy_row(row, to);
    }
}
