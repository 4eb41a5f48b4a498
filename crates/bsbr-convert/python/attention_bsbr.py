# SPDX-License-Identifier: MIT OR Apache-2.0
# Part of BSBR, https://github.com/bsbr-rs/bsbr
"""The attention arms of BSBR in plain PyTorch, as their definitions read.

An arm reads one row of a batch from its first real token on, whole or in pieces. What it keeps of a
row between pieces is a `Memory`.

The first tokens of a row are its sinks. The tokens after them are cut into chunks. A query attends
exactly to the sinks, to its own chunk and to the chunks just before it. What is older is far: an arm
keeps clusters of it, single tokens to look up, states, or nothing.

With spans, the clusters of several far chunks are also merged into a few. A query opens the best of
these, which then are the clusters that they were merged from, and sees the others as they are.

Shapes: H heads, n queries, D dimensions of a head, S tokens of a chunk, F far chunks, G clusters of
a chunk, t clusters that a query looks up, K chunks of a span, T spans.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

HIDDEN = float("-inf")


class Rounded:
    """Rows of numbers, kept in few bits: a row is about offset + scale · codes.

    In 16 and 8 bits the scale is the largest magnitude of a row over 32767 or 127. In 4 bits codes
    go from 0 to 15, from the least number of a row to the largest. A code that takes 4 bits is kept
    in a byte here.
    """

    TYPES = {4: torch.uint8, 8: torch.int8, 16: torch.int16}

    def __init__(self, x: Tensor, bits: int) -> None:
        self.codes, self.scale, self.offset = x, None, None
        if bits == 32:
            return
        rows = x.detach()
        if bits == 4:
            offset = rows.amin(-1, keepdim=True)
            scale = rows.amax(-1, keepdim=True) / 15 - offset / 15
        else:
            scale = rows.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
            offset = torch.zeros_like(scale)
        # What is that small is nothing.
        nothing = scale < torch.finfo(torch.float32).tiny
        scale = scale.masked_fill(nothing, 0)
        codes = ((rows - offset) / scale.masked_fill(nothing, 1)).round()
        if x.requires_grad:
            # The gradient is passed on as if nothing had been rounded.
            self.codes = x + (offset + codes * scale - rows)
        else:
            self.codes, self.scale, self.offset = codes.to(self.TYPES[bits]), scale, offset

    def _each(self, change: Callable[[Tensor, str], Tensor]) -> Rounded:
        """The same with each part changed."""
        one = copy.copy(self)
        for name in ("codes", "scale", "offset"):
            part = getattr(self, name)
            setattr(one, name, None if part is None else change(part, name))
        return one

    def __getitem__(self, rows: slice) -> Rounded:
        """Some rows of every head."""
        return self._each(lambda part, _: part[:, rows])

    def take(self, places: Tensor) -> Rounded:
        """The rows at `[H, m]` places."""
        at = places.unsqueeze(-1)
        return self._each(lambda part, _: part.gather(1, at.expand(-1, -1, part.shape[-1])))

    def and_then(self, later: Rounded) -> Rounded:
        """These rows and later ones."""
        return self._each(lambda part, name: torch.cat([part, getattr(later, name)], 1))

    def numbers(self) -> Tensor:
        """What is kept. `[H, m, D]`"""
        if self.scale is None:
            return self.codes
        return self.offset + self.codes.to(self.scale.dtype) * self.scale


@torch.no_grad()
def split_into_clusters(keys: Tensor, clusters: int, used: Tensor | None = None) -> Tensor:
    """The cluster of each key of a chunk, `[H, S]` of `[H, S, D]`.

    Keys that are not `used`, `[H, S]`, do not count.

    The keys are split in two, log₂ `clusters` times over: along the main axis of a group's keys, at
    their mean. The axis starts at the key farthest from the mean, and three power iterations turn
    it.
    """
    keys = keys.double()
    ids = torch.zeros(keys.shape[:2], dtype=torch.long, device=keys.device)
    groups = 1
    while groups < clusters:
        member = functional.one_hot(ids, groups).to(keys.dtype).mT
        if used is not None:
            member = member * used.unsqueeze(1)
        of_key = ids.unsqueeze(-1).expand_as(keys)
        means = member @ keys / member.sum(-1, keepdim=True).clamp(min=1)
        centred = keys - means.gather(1, of_key)
        distance = member * centred.square().sum(-1).unsqueeze(1)
        farthest = distance.argmax(-1, keepdim=True)
        axes = centred.gather(1, farthest.expand_as(means))
        for _ in range(3):
            along = (centred * axes.gather(1, of_key)).sum(-1)
            turned = (member * along.unsqueeze(1)) @ centred
            axes = functional.normalize(turned, dim=-1, eps=1e-300)
        along = (centred * axes.gather(1, of_key)).sum(-1)
        ids = 2 * ids + (along > 0)
        groups *= 2
    return ids


class Far:
    """What is kept of far chunks; what an arm does not keep is `None`."""

    def __init__(self, **kept: Any) -> None:
        # m, how many tokens each cluster has. [H, F·G]
        self.counts: Tensor | None = kept.get("counts")
        # k̄ and v̄, their mean keys and values. [H, F·G, D]
        self.mean_keys: Rounded | None = kept.get("mean_keys")
        self.mean_values: Rounded | None = kept.get("mean_values")
        # Far tokens, in the order of their clusters. [H, F·S, D]
        self.keys: Rounded | None = kept.get("keys")
        self.values: Rounded | None = kept.get("values")
        # The cluster of each of them. [H, F·S] Of spans: the merged cluster of each cluster.
        # [H, T·K·G]
        self.cluster: Tensor | None = kept.get("cluster")
        # The state of each chunk, and what it offers to those that choose among states.
        # [H, F, D, D] or with compression [H, F, r, r]; [H, F, D]
        self.states: Tensor | None = kept.get("states")
        self.offers: Tensor | None = kept.get("offers")

    def and_then(self, later: Far) -> Far:
        """These chunks and later ones."""
        both = Far()
        for name, part in vars(self).items():
            other = getattr(later, name)
            if name == "cluster" and part is not None:
                other = other + self.counts.shape[1]
            if isinstance(part, Rounded):
                both.__dict__[name] = part.and_then(other)
            elif part is not None:
                both.__dict__[name] = torch.cat([part, other], 1)
        return both


class Memory:
    """What a layer keeps of one row."""

    def __init__(self) -> None:
        # Tokens that were read.
        self.tokens = 0
        # Sinks and near tokens; in the dense arm all.
        self.keys: Rounded | None = None
        self.values: Rounded | None = None
        # What each of them gives to its chunk's offer.
        self.offers: Tensor | None = None
        self.far: Far | None = None
        self.far_chunks = 0
        # The merged clusters of spans.
        self.spans: Far | None = None
        # By what the last token, and the last one before this chunk, choose among states. [H, D]
        self.last: Tensor | None = None
        self.receiver: Tensor | None = None

    def add(self, keys: Rounded, values: Rounded, offers: Tensor | None) -> None:
        """Keeps new tokens."""
        if self.keys is None:
            self.keys, self.values, self.offers = keys, values, offers
            return
        self.keys, self.values = self.keys.and_then(keys), self.values.and_then(values)
        if offers is not None:
            self.offers = torch.cat([self.offers, offers], 1)

    def drop(self, start: int, size: int) -> None:
        """Forgets the near tokens from `start` on that became far."""
        self.keys = self.keys[:start].and_then(self.keys[start + size :])
        self.values = self.values[:start].and_then(self.values[start + size :])
        if self.offers is not None:
            self.offers = torch.cat([self.offers[:, :start], self.offers[:, start + size :]], 1)


class Routing(nn.Module):
    """By what chunks choose among the states of others, and what they offer."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.retrieval = Conv1D(hidden_size, hidden_size)
        self.summary = Conv1D(hidden_size, hidden_size)


class Bases(nn.Module):
    """U_k and U_v, in which a state is kept at a smaller rank. `[H, D, r]`"""

    def __init__(self, heads: int, head_dim: int, factor: int) -> None:
        super().__init__()
        rank = min(max(int(head_dim / factor**0.5 + 0.5), 1), head_dim)
        self.key = nn.Parameter(torch.zeros(heads, head_dim, rank), requires_grad=False)
        self.value = nn.Parameter(torch.zeros(heads, head_dim, rank), requires_grad=False)


class Tuning(nn.Module):
    """Temperature and bias of clusters, and gain of the state. `[H]`"""

    def __init__(self, heads: int, state: bool) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads))
        self.bias = nn.Parameter(torch.zeros(heads))
        self.gain = nn.Parameter(torch.ones(heads)) if state else None


class Arm(nn.Module):
    """The attention of one layer."""

    def __init__(
        self, settings: dict[str, Any], heads: int, head_dim: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.name: str = settings["arm"]
        # σ, by which q·k is multiplied.
        self.scale = scale
        self.dropout = dropout
        self.heads = heads
        # Dense attention is one chunk without an end.
        self.size: int = settings.get("chunk_size", sys.maxsize)
        self.near: int = settings.get("near_chunks", 0)
        self.sinks: int = settings.get("sink_tokens", 0)
        self.bits: int = settings.get("kv_bits", 32)
        self.clusters: int = settings.get("clusters", 0)
        self.lookups: int = settings.get("exact_clusters", 0)
        self.span: int = settings.get("span", 0)
        self.opened: int = settings.get("opened", 0)
        self.levels: list[str] = settings.get("levels") or ["lookups"] * heads
        self.state: bool = self.name == "published" or settings.get("state", False)

        learned = settings.get("learned", False)
        routed = self.name == "published" or (learned and self.state)
        factor = settings.get("compression", 1)
        self.routing = Routing(heads * head_dim) if routed else None
        self.bases = Bases(heads, head_dim, factor) if factor > 1 else None
        self.tuning = Tuning(heads, self.state) if learned else None

    def forward(
        self, memory: Memory, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor
    ) -> Tensor:
        """The attention of the next n tokens of a row.

        `query`, `key`, `value` and the output are `[H, n, D]`, `hidden`, the attention's input, is
        `[n, H·D]`.
        """
        receivers, offers = (query, key) if self.state else (None, None)
        if self.routing is not None:
            receivers = self._heads(self.routing.retrieval(hidden)).to(query.dtype)
            offers = self._heads(self.routing.summary(hidden)).to(query.dtype)
        bits = self.bits if self.name == "dense" else 32
        past, end = memory.tokens, memory.tokens + query.shape[1]
        memory.add(Rounded(key, bits), Rounded(value, bits), offers)

        outputs = []
        start = past
        while start < end:
            # The queries of one chunk; those of sinks belong to the first.
            chunk = max(start - self.sinks, 0) // self.size
            stop = min(end, self.sinks + (chunk + 1) * self.size)
            while memory.far_chunks < chunk - self.near:
                self._move_away(memory)
            if self.state and chunk > 0 and start == self.sinks + chunk * self.size:
                before = start - 1 - past
                memory.receiver = memory.last if before < 0 else receivers[:, before]
            seen = memory.far_chunks * self.size
            outputs.append(
                self._attend(memory, query[:, start - past : stop - past], start - seen)
            )
            start = stop
        memory.tokens = end
        if self.state:
            memory.last = receivers[:, -1]
        return torch.cat(outputs, 1)

    def _heads(self, x: Tensor) -> Tensor:
        """`[n, H·D]` as `[H, n, D]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(0, 1)

    def _move_away(self, memory: Memory) -> None:
        """Takes the oldest near chunk to the far ones."""
        chunk = slice(self.sinks, self.sinks + self.size)
        if self.name != "local":
            offers = None if memory.offers is None else memory.offers[:, chunk]
            far = self._summary(
                memory.keys[chunk].numbers(), memory.values[chunk].numbers(), offers
            )
            memory.far = far if memory.far is None else memory.far.and_then(far)
        memory.drop(self.sinks, self.size)
        memory.far_chunks += 1
        if self.span > 0 and memory.far_chunks % self.span == 0:
            spans = self._merged(memory.far)
            memory.spans = spans if memory.spans is None else memory.spans.and_then(spans)

    def _merged(self, far: Far) -> Far:
        """The merged clusters of the last span of chunks."""
        last = slice(-self.span * self.clusters, None)
        counts = far.counts[:, last]
        keys, values = far.mean_keys[last].numbers(), far.mean_values[last].numbers()
        ids = split_into_clusters(keys, self.clusters, counts > 0)
        member = functional.one_hot(ids, self.clusters).to(keys.dtype).mT * counts.unsqueeze(1)
        totals = member.sum(-1)
        shares = member / totals.clamp(min=1).unsqueeze(-1)
        of_means = 32 if self.bits == 32 else 16
        return Far(
            counts=totals,
            mean_keys=Rounded(shares @ keys, of_means),
            mean_values=Rounded(shares @ values, of_means),
            cluster=ids,
        )

    def _summary(self, keys: Tensor, values: Tensor, offers: Tensor | None) -> Far:
        """What is kept of one chunk, whose keys and values are `[H, S, D]`."""
        if self.name == "published":
            # Kᵀ V, and what the last token offers.
            return Far(states=self._compressed(keys, values), offers=offers[:, -1:])
        ids = split_into_clusters(keys, self.clusters)
        member = functional.one_hot(ids, self.clusters).to(keys.dtype).mT
        counts = member.sum(-1)
        shares = member / counts.clamp(min=1).unsqueeze(-1)
        mean_keys, mean_values = shares @ keys, shares @ values
        of_means = 32 if self.bits == 32 else 16
        far = Far(
            counts=counts,
            mean_keys=Rounded(mean_keys, of_means),
            mean_values=Rounded(mean_values, of_means),
        )
        if self.lookups > 0:
            order = ids.argsort(dim=1, stable=True)
            far.cluster = ids.gather(1, order)
            far.keys = Rounded(keys, self.bits).take(order)
            far.values = Rounded(values, self.bits).take(order)
        if self.state:
            # (1/S) Σ (k − k̄)(v − v̄)ᵀ, and the mean of what the tokens offer.
            left = keys - member.mT @ mean_keys
            right = values - member.mT @ mean_values
            far.states = self._compressed(left, right) / self.size
            far.offers = offers.mean(1, keepdim=True)
        return far

    def _compressed(self, left: Tensor, right: Tensor) -> Tensor:
        """leftᵀ right, or U_kᵀ leftᵀ right U_v. `[H, 1, D, D]`"""
        if self.bases is not None:
            left, right = left @ self.bases.key.to(left), right @ self.bases.value.to(left)
        return (left.mT @ right).unsqueeze(1)

    def _attend(self, memory: Memory, query: Tensor, place: int) -> Tensor:
        """The attention of queries of one chunk, of which the first is token number `place` of
        those that are kept."""
        scaled = query * self.scale
        n = query.shape[1]
        seen = slice(0, place + n)
        values = [memory.values[seen].numbers()]
        logits = [scaled @ memory.keys[seen].numbers().mT]
        later = torch.ones(n, place + n, dtype=torch.bool, device=query.device).triu(place + 1)
        logits[0] = logits[0].masked_fill(later, HIDDEN)

        far = memory.far
        has_clusters = far is not None and far.counts is not None
        merged = 0
        if has_clusters:
            of_clusters = self._of_clusters(far, scaled)
            values.append(far.mean_values.numbers())
            if memory.spans is not None:
                of_merged, of_clusters = self._open(memory.spans, scaled, of_clusters)
                values.insert(0, memory.spans.mean_values.numbers())
                logits.insert(0, of_merged)
                merged = of_merged.shape[-1]
            if self.lookups > 0:
                best, chosen = self._choose(of_clusters)
                of_clusters = of_clusters.masked_fill(chosen, HIDDEN)
                keys, looked_up, visible = self._tokens(far, best, chosen)
                values.append(looked_up)
                logits.append((scaled @ keys.mT).masked_fill(~visible, HIDDEN))
            logits.insert(len(logits) - (self.lookups > 0), of_clusters)
        weights = torch.cat(logits, -1).softmax(-1)
        weights = functional.dropout(weights, self.dropout, self.training)
        output = weights @ torch.cat(values, 1)
        if not self.state or far is None:
            return output
        if self.name == "published":
            return output + self._read_states(memory, query, query.shape[-1] ** -0.5)
        # As much of the state as there is weight on clusters.
        on_clusters = weights[..., merged + place + n :][..., : far.counts.shape[1]]
        on_clusters = on_clusters.sum(-1, keepdim=True)
        on_clusters = on_clusters + weights[..., :merged].sum(-1, keepdim=True)
        read = self._read_states(memory, scaled, self.scale)
        if self.tuning is not None:
            read = read * self.tuning.gain.to(read)[:, None, None]
        return output + on_clusters * read

    def _of_clusters(self, far: Far, scaled: Tensor) -> Tensor:
        """Logits of clusters: τ σ q·k̄ + ln m + β. `[H, n, F·G]`"""
        logits = scaled @ far.mean_keys.numbers().mT
        bias = far.counts.log()
        if self.tuning is not None:
            logits = logits * self.tuning.temperature.to(logits)[:, None, None]
            bias = bias + self.tuning.bias.to(logits)[:, None]
        # ln 0 hides a cluster without tokens.
        return (logits + bias.unsqueeze(1)).masked_fill(self._heads_at("near", logits), HIDDEN)

    def _open(self, spans: Far, scaled: Tensor, of_clusters: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of merged clusters without those that a query opens, and of clusters without those
        of the others."""
        of_merged = self._of_clusters(spans, scaled)
        _, opened = self._best(of_merged, self.opened)
        of_cluster = spans.cluster.unsqueeze(1).expand(-1, scaled.shape[1], -1)
        closed = ~opened.gather(2, of_cluster)
        later = of_clusters.shape[-1] - closed.shape[-1]
        hidden = functional.pad(closed, (0, later))
        return of_merged.masked_fill(opened, HIDDEN), of_clusters.masked_fill(hidden, HIDDEN)

    def _heads_at(self, level: str, like: Tensor) -> Tensor:
        """True for heads of that level. `[H, 1, 1]`"""
        heads = [of == level for of in self.levels]
        return torch.tensor(heads, device=like.device)[:, None, None]

    def _choose(self, of_clusters: Tensor) -> tuple[Tensor, Tensor]:
        """The clusters that each query looks up: `[H, n, t]`, and true where they are, `[H, n, F·G]`.

        Of equal ones the first are better. Hidden ones are never chosen.
        """
        best, chosen = self._best(of_clusters, self.lookups)
        return best, chosen & ~self._heads_at("clusters", of_clusters)

    def _best(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The places of each query's best logits, and true where they are."""
        best = logits.sort(dim=-1, descending=True, stable=True).indices[..., :count]
        chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best, True)
        return best, chosen & (logits > HIDDEN)

    def _tokens(self, far: Far, best: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of far tokens, `[H, m, D]`, and true where a query looks them up,
        `[H, n, m]`."""
        if chosen.shape[1] > 1:
            of_token = far.cluster.unsqueeze(1).expand(-1, chosen.shape[1], -1)
            return far.keys.numbers(), far.values.numbers(), chosen.gather(2, of_token)
        # Of one query the tokens that it looks up alone, which lie side by side in each cluster.
        best, taken = best.squeeze(1), chosen.squeeze(1).gather(1, best.squeeze(1))
        sizes = far.counts.long()
        starts = (sizes.cumsum(1) - sizes).gather(1, best).unsqueeze(-1)
        sizes = (sizes.gather(1, best) * taken).unsqueeze(-1)
        steps = torch.arange(int(sizes.max()), device=best.device)
        visible = (steps < sizes).flatten(1)
        places = (starts + steps).flatten(1) * visible
        keys, values = far.keys.take(places), far.values.take(places)
        return keys.numbers(), values.numbers(), visible.unsqueeze(1)

    def _read_states(self, memory: Memory, query: Tensor, scale: float) -> Tensor:
        """q Σ_b w_b F_b, where w = softmax_b(scale · r·h_b). `[H, n, D]`"""
        far = memory.far
        receiver = memory.receiver.unsqueeze(1) * scale
        weights = (receiver @ far.offers.mT).softmax(-1)
        state = (weights @ far.states.flatten(2)).unflatten(-1, far.states.shape[2:]).squeeze(1)
        if self.bases is None:
            return query @ state
        key, value = self.bases.key.to(query), self.bases.value.to(query)
        return query @ key @ state @ value.mT
