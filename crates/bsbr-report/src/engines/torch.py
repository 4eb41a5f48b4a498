"""Times GPT-2 of a given shape in PyTorch: one request a line, one answer a line.

The argument is a JSON object with the shape, the device and the type of the weights. A request is "sdpa|eager SCOPE NUMBER", and the answer
is the seconds of one run, or what went wrong. Weights and inputs are random. The scopes:

    model TOKENS      a forward pass to the logits of the last token
    attention TOKENS  one layer's attention
    gradients TOKENS  the same, and the gradients of queries, keys and values
    matrix TOKENS     the product of the hidden states of so many tokens with the first matrix of a
                      feed-forward layer
    training TOKENS   a step of AdamW on a batch of eight rows of so many tokens
    accuracy TOKENS   how far the last token's logits are from those of the same model on the CPU in
                      float32, relative to their norm
    memory TOKENS     the bytes by which a forward pass raises the peak of what the process holds
    read TOKENS       reading so many tokens, with what `generate` of transformers keeps of them: in one
                      piece, keys and values, logits of the last token
    generate TOKENS   a token after those that were read last: the mean of so many, the likeliest each
    cache 0           the bytes of keys and values that are kept of those
    reading TOKENS    the bytes by which reading so many raises the peak of what the process holds
    peak 0            the most bytes that the process held since the last scope that measures them began
"""

import copy
import json
import sys
import time

shape = json.loads(sys.argv[1])

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model

torch.set_num_threads(shape["threads"])
torch.manual_seed(0)
device, dtype = torch.device(shape["device"]), getattr(torch, shape["dtype"])
torch.zeros(1, device=device)
models = {}
held = {}

# Tokens that may be generated after those that were read.
ROOM = 128


def begin():
    """The time once the device has done what it was given before."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def tokens(rows, length):
    return torch.randint(shape["vocab_size"], (rows, length)).to(device)


def normal(*size):
    return torch.randn(*size).to(device, dtype)


def config(kind, length):
    return GPT2Config(
        n_layer=shape["n_layer"],
        n_head=shape["n_head"],
        n_embd=shape["n_embd"],
        n_inner=shape["n_inner"],
        vocab_size=shape["vocab_size"],
        n_positions=max(length, 1024),
        bos_token_id=None,
        eos_token_id=None,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        attn_implementation=kind,
    )


def model(kind, length):
    """A model of each kind, with a position table as long as was ever asked for."""
    if kind not in models or models[kind].config.n_positions < length:
        models[kind] = GPT2Model(config(kind, length)).eval().to(device, dtype)
    return models[kind]


def forward(kind, length):
    gpt2 = model(kind, length)
    ids = tokens(1, length)
    start = begin()
    logits(gpt2, ids).sum().item()
    return time.perf_counter() - start


def logits(gpt2, ids):
    return gpt2(ids).last_hidden_state[:, -1] @ gpt2.wte.weight.T


def accuracy(kind, length):
    exact = GPT2Model(config(kind, length)).eval()
    rounded = copy.deepcopy(exact).to(device, dtype)
    ids = tokens(1, length)
    found, reference = logits(rounded, ids).float().cpu(), logits(exact, ids.cpu())
    return ((found - reference).norm() / reference.norm()).item()


def attend(kind, q, k, v):
    if kind == "sdpa":
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    length = q.shape[-2]
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    mask = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


def heads(length):
    return normal(1, shape["n_head"], length, shape["n_embd"] // shape["n_head"])


def attention(kind, length):
    q, k, v = (heads(length) for _ in range(3))
    start = begin()
    out = attend(kind, q, k, v)
    out[..., -1, :].sum().item()
    return time.perf_counter() - start


@torch.inference_mode(False)
def gradients(kind, length):
    with torch.enable_grad():
        leaves = [heads(length).requires_grad_() for _ in range(3)]
        weight = heads(length)
        start = begin()
        (attend(kind, *leaves) * weight).sum().backward()
        for leaf in leaves:
            leaf.grad[..., -1, :].sum().item()
        return time.perf_counter() - start


def matrix(_, length):
    x, w = normal(length, shape["n_embd"]), normal(shape["n_embd"], shape["n_inner"])
    start = begin()
    out = x @ w
    out[-1, -1].item()
    return time.perf_counter() - start


@torch.inference_mode(False)
def training(kind, length):
    """Cross entropy of the next token, global norm of the gradients at most 1, one update."""
    if "training" not in models:
        gpt2 = GPT2LMHeadModel(config(kind, length)).train().to(device, dtype)
        matrices = [p for p in gpt2.parameters() if p.dim() == 2]
        others = [p for p in gpt2.parameters() if p.dim() != 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        models["training"] = gpt2, torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8)
    gpt2, optimizer = models["training"]
    ids = tokens(8, length + 1)
    with torch.enable_grad():
        start = begin()
        logits = gpt2(ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(gpt2.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        return time.perf_counter() - start


def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def growth(run, kind, length):
    run(kind, min(length, 16))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(kind, length)
        return float(torch.cuda.max_memory_allocated() - before)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    run(kind, length)
    return float(max(status("VmHWM") - before, 0))


def memory(kind, length):
    model(kind, length)
    return growth(forward, kind, length)


def reading(kind, length):
    model(kind, length + ROOM)
    return growth(read, kind, length)


def peak(_kind, _number):
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return float(status("VmHWM"))


def step(ids):
    out = held["model"](ids, past_key_values=held["past"], use_cache=True)
    held["past"] = out.past_key_values
    held["next"] = (out.last_hidden_state[:, -1] @ held["model"].wte.weight.T).argmax(-1).item()


def read(kind, length):
    held.update(model=model(kind, length + ROOM), past=None)
    ids = tokens(1, length)
    start = begin()
    step(ids)
    return time.perf_counter() - start


def generate(_kind, count):
    start = begin()
    for _ in range(count):
        step(torch.tensor([[held["next"]]], device=device))
    return (time.perf_counter() - start) / count


def cache(_kind, _number):
    kept = [x for layer in held["past"].layers for x in (layer.keys, layer.values)]
    return float(sum(x.numel() * x.element_size() for x in kept))


SCOPES = {
    "model": forward,
    "attention": attention,
    "gradients": gradients,
    "matrix": matrix,
    "training": training,
    "accuracy": accuracy,
    "memory": memory,
    "read": read,
    "generate": generate,
    "cache": cache,
    "reading": reading,
    "peak": peak,
}
SCOPES = {name: torch.inference_mode()(scope) for name, scope in SCOPES.items()}
