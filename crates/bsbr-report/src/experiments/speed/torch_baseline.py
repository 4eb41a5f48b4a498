"""Times GPT-2 of a given shape in PyTorch: one request a line, one answer a line.

The argument is a JSON object with the shape. A request is "sdpa|eager model|attention TOKENS";
the answer is the seconds of one forward pass, or what went wrong. Weights and inputs are random.
"""

import json
import sys
import time

shape = json.loads(sys.argv[1])

import torch
from transformers import GPT2Config, GPT2Model

torch.set_num_threads(shape["threads"])
torch.manual_seed(0)
models = {}


def model(kind, length):
    """A model of each kind, with a position table as long as was ever asked for."""
    if kind not in models or models[kind].config.n_positions < length:
        config = GPT2Config(
            n_layer=shape["n_layer"],
            n_head=shape["n_head"],
            n_embd=shape["n_embd"],
            n_inner=shape["n_inner"],
            vocab_size=shape["vocab_size"],
            n_positions=max(length, 1024),
            use_cache=False,
            attn_implementation=kind,
        )
        models[kind] = GPT2Model(config).eval()
    return models[kind]


def run_model(kind, length):
    gpt2 = model(kind, length)
    ids = torch.randint(shape["vocab_size"], (1, length))
    start = time.perf_counter()
    hidden = gpt2(ids).last_hidden_state[:, -1]
    (hidden @ gpt2.wte.weight.T).sum().item()
    return time.perf_counter() - start


def run_attention(kind, length):
    heads = shape["n_head"]
    q, k, v = (torch.randn(1, heads, length, shape["n_embd"] // heads) for _ in range(3))
    start = time.perf_counter()
    if kind == "sdpa":
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        out = scores.masked_fill(mask, float("-inf")).softmax(-1) @ v
    out[..., -1, :].sum().item()
    return time.perf_counter() - start


print("ready", flush=True)
with torch.inference_mode():
    for line in sys.stdin:
        kind, scope, length = line.split()
        try:
            run = run_model if scope == "model" else run_attention
            answer = repr(run(kind, int(length)))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(answer, flush=True)
