# SPDX-License-Identifier: MIT OR Apache-2.0
# Part of BSBR, https://github.com/bsbr-rs/bsbr
"""GPT-2 with an attention arm of BSBR in each layer, for `transformers`.

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

`attention_bsbr` has the arms; the rest is GPT-2, with the names of its tensors. Tried with transformers
5.24.0 and torch 2.15.0.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.pytorch_utils import Conv1D

from .attention_bsbr import Arm, Memory
from .configuration_bsbr import BsbrGpt2Config

# What `transformers` calls the cache of a model, which depends on its version.
CACHE = (
    "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
)


class BsbrCache:
    """What the layers keep of each row of a batch."""

    # Read by `generate`: tokens cannot be taken back, for clusters were made of them.
    is_compileable = False
    is_croppable = False
    is_linear = (False,)

    def __init__(self) -> None:
        # Tokens of a row, padding included.
        self.seen = 0
        # The memories of each row, layer by layer.
        self.rows: list[list[Memory]] = []

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens of a row that were read, padding included."""
        return self.seen

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """That no number of tokens is the most."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows that a beam search goes on with, some of them more than once."""
        # Tensors are replaced and never written into, so that rows may share them.
        self.rows = [[copy.copy(one) for one in self.rows[row]] for row in beam_idx.tolist()]

    def crop(self, max_length: int) -> None:
        """Refuses to forget tokens."""
        raise NotImplementedError(
            "this cache cannot forget tokens, for it keeps clusters of them: read the text again"
        )


class BsbrAttention(nn.Module):
    """Projections around an arm."""

    def __init__(self, config: BsbrGpt2Config, layer: int) -> None:
        super().__init__()
        size, self.heads = config.n_embd, config.n_head
        scale = 1.0
        if config.scale_attn_weights:
            scale /= (size // self.heads) ** 0.5
        if config.scale_attn_by_inverse_layer_idx:
            scale /= layer + 1
        self.c_attn = Conv1D(3 * size, size)
        self.c_proj = Conv1D(size, size)
        self.bsbr = Arm(
            config.arm(layer), self.heads, size // self.heads, scale, config.attn_pdrop
        )

    def forward(self, hidden: Tensor, padding: list[int], memories: list[Memory]) -> Tensor:
        """`[B, n, H·D]` of the same. The first `padding` tokens of a row are none of its own."""
        # Half precision is a way to store weights: what is attended to is at least f32.
        wide = torch.promote_types(hidden.dtype, torch.float32)
        projected = self.c_attn(hidden).to(wide).unflatten(-1, (3, self.heads, -1))
        rows = []
        for row, (pad, memory) in enumerate(zip(padding, memories, strict=True)):
            output = projected.new_zeros(projected.shape[1], hidden.shape[-1])
            if pad < hidden.shape[1]:
                query, key, value = projected[row, pad:].permute(1, 2, 0, 3)
                attended = self.bsbr(memory, query, key, value, hidden[row, pad:])
                output = torch.cat([output[:pad], attended.transpose(0, 1).flatten(1)])
            rows.append(output)
        return self.c_proj(torch.stack(rows).to(hidden.dtype))


class BsbrMlp(nn.Module):
    """The feed-forward layer."""

    def __init__(self, config: BsbrGpt2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = Conv1D(inner, config.n_embd)
        self.c_proj = Conv1D(config.n_embd, inner)
        self.act = ACT2FN[config.activation_function]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, n, H·D]` of the same."""
        return self.c_proj(self.act(self.c_fc(x)))


class BsbrBlock(nn.Module):
    """Attention and feed-forward layer, each after a layer norm."""

    def __init__(self, config: BsbrGpt2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = BsbrAttention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = BsbrMlp(config)
        self.drop = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, padding: list[int], memories: list[Memory]) -> Tensor:
        """`[B, n, H·D]` of the same."""
        x = x + self.drop(self.attn(self.ln_1(x), padding, memories))
        return x + self.drop(self.mlp(self.ln_2(x)))


class BsbrPreTrainedModel(PreTrainedModel):
    """What `transformers` wants to know of every model."""

    config_class = BsbrGpt2Config
    base_model_prefix = "transformer"
    _no_split_modules = ["BsbrBlock"]
    # Assisted generation takes tokens back, which a `BsbrCache` cannot.
    _is_stateful = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (Conv1D, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, Conv1D):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class BsbrGpt2Model(BsbrPreTrainedModel):
    """The model up to its last hidden state."""

    def __init__(self, config: BsbrGpt2Config) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(BsbrBlock(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The embeddings of tokens."""
        return self.wte

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replaces them."""
        self.wte = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        cache: BsbrCache | None = None,
        past_key_values: BsbrCache | None = None,
        position_ids: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[Any, ...]:
        """The last hidden states of tokens `[B, n]`, after those that a cache has read.

        `attention_mask` is `[B, seen + n]`, 0 for padding, which stands on the left. Positions count
        from the first token of a row that is none.
        """
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        batch, n, _ = x.shape
        cache = past_key_values if cache is None else cache
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        keeps = use_cache or cache is not None
        if cache is None:
            cache = BsbrCache()
        if not cache.rows:
            cache.rows = [[Memory() for _ in self.h] for _ in range(batch)]
        seen = cache.seen
        padding = _padding(attention_mask, batch, seen, n)

        counts = torch.arange(n).repeat(batch, 1) - torch.tensor(padding).unsqueeze(1)
        read = torch.tensor([memories[0].tokens for memories in cache.rows])
        positions = (counts.clamp(min=0) + read.unsqueeze(1)).to(x.device)
        most = int(positions.max()) + 1
        if most > self.config.n_positions:
            raise ValueError(
                f"a text has {most} tokens, and the model has {self.config.n_positions} positions: "
                "give it a shorter text, or convert it with more positions"
            )
        if position_ids is not None and not bool(
            ((position_ids == positions) | (counts < 0).to(x.device)).all()
        ):
            raise ValueError("`position_ids` must count from the first token of a row: leave it out")

        x = self.drop(x + self.wpe(positions))
        states = [x]
        for layer, block in enumerate(self.h):
            x = block(x, padding, [memories[layer] for memories in cache.rows])
            states.append(x)
        x = states[-1] = self.ln_f(x)
        cache.seen = seen + n
        output = BaseModelOutputWithPast(
            last_hidden_state=x,
            hidden_states=tuple(states) if output_hidden_states else None,
            **({CACHE: cache} if keeps else {}),
        )
        return output if return_dict is not False else output.to_tuple()


def _padding(attention_mask: Tensor | None, batch: int, seen: int, n: int) -> list[int]:
    """How many of the next n tokens of each row are padding on the left."""
    if attention_mask is None:
        return [0] * batch
    if attention_mask.shape != (batch, seen + n):
        raise ValueError(
            f"`attention_mask` is {list(attention_mask.shape)}, expected {[batch, seen + n]}: "
            "one number for each token, those that the cache has read included"
        )
    real = attention_mask.ne(0).long()
    # Padding on the right is seen by nobody, as long as no token comes after it.
    if bool((functional.pad(real, (1, 0)).diff(dim=1) > 0).sum(1).gt(1).any()):
        raise ValueError('padding must stand on the left, as with `padding_side="left"`')
    left = real.argmax(1).masked_fill(real.sum(1) == 0, seen + n)
    return [min(max(pad - seen, 0), n) for pad in left.tolist()]


class BsbrGpt2LMHeadModel(BsbrPreTrainedModel, GenerationMixin):
    """The model with its output layer."""

    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}

    def __init__(self, config: BsbrGpt2Config) -> None:
        super().__init__(config)
        self.transformer = BsbrGpt2Model(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replaces it."""
        self.lm_head = new_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        # `generate` makes no mask for a model that does not name it.
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits of the next token after each, or after the last `logits_to_keep`; with `labels`
        the loss. The rest is as in `BsbrGpt2Model.forward`."""
        states = self.transformer(input_ids, attention_mask, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(states.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits,
                labels,
                vocab_size=self.config.vocab_size,
                num_items_in_batch=num_items_in_batch,
            )
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=states.hidden_states,
            **{CACHE: getattr(states, CACHE)},
        )
        return output if return_dict is not False else output.to_tuple()

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        if generation_config.use_cache is not False and model_kwargs.get(CACHE) is None:
            model_kwargs[CACHE] = BsbrCache()

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The tokens that the cache has not read, of which some versions say how many there are."""
        cache = kwargs.get(CACHE)
        if cache is not None and attention_mask is not None:
            next_sequence_length = attention_mask.shape[1] - cache.get_seq_length()
        if next_sequence_length is not None:
            input_ids = input_ids[:, -next_sequence_length:]
        names = ("use_cache", "logits_to_keep", CACHE)
        given = {name: kwargs[name] for name in names if name in kwargs}
        return {"input_ids": input_ids, "attention_mask": attention_mask, **given}
