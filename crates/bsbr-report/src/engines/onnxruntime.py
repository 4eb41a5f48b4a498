"""Times GPT-2 of a given shape in ONNX Runtime: one request a line, one answer a line.

The argument is a JSON object with the shape, the number of threads and the most tokens of a text. A
request is "f32|int8 SCOPE NUMBER", the first what weights are kept and multiplied in, and the answer
is the seconds of one run, or what went wrong. Weights and inputs are random. The scopes:

    read TOKENS       reading so many tokens, to the token after them
    generate TOKENS   a token after those that were read last: the mean of so many, the likeliest each
    first TOKENS      from a file on the disk to the token after so many
    file 0            the bytes of the file
"""

import json
import math
import os
import sys
import tempfile
import time

shape = json.loads(sys.argv[1])

import numpy
import onnx
import onnxruntime
import torch

torch.manual_seed(0)
LAYERS, HEADS, SIZE = shape["n_layer"], shape["n_head"], shape["n_embd"]
root = tempfile.TemporaryDirectory()
sessions = {}
held = {}


class Linear(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(inputs, outputs) * 0.02)
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (torch.nn.LayerNorm(SIZE) for _ in range(2))
        self.qkv, self.out = Linear(SIZE, 3 * SIZE), Linear(SIZE, SIZE)
        self.up, self.down = Linear(SIZE, shape["n_inner"]), Linear(shape["n_inner"], SIZE)

    def forward(self, x, keys, values, mask):
        rows, length, _ = x.shape
        heads = self.qkv(self.first(x)).view(rows, length, 3, HEADS, SIZE // HEADS)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        k, v = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        scores = q @ k.transpose(-1, -2) / math.sqrt(SIZE // HEADS) + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, SIZE)
        x = x + self.out(mixed)
        inner = torch.nn.functional.gelu(self.up(self.second(x)), approximate="tanh")
        return x + self.down(inner), k, v


class Gpt2(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(shape["vocab_size"], SIZE)
        self.positions = torch.nn.Embedding(shape["positions"], SIZE)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.LayerNorm(SIZE)

    def forward(self, ids, *past):
        before, length = past[0].shape[2], ids.shape[1]
        at = torch.arange(before, before + length)
        x = self.tokens(ids) + self.positions(at)[None]
        hidden = torch.arange(before + length)[None] > at[:, None]
        mask = hidden * torch.tensor(-1e9)
        present = []
        for layer, block in enumerate(self.blocks):
            x, *kept = block(x, past[2 * layer], past[2 * layer + 1], mask)
            present += kept
        return (self.norm(x[:, -1]) @ self.tokens.weight.T, *present)


def names(kind):
    return [f"{kind}_{index}" for index in range(2 * LAYERS)]


def past():
    return [numpy.zeros((1, HEADS, 0, SIZE // HEADS), numpy.float32)] * (2 * LAYERS)


def exported():
    path = os.path.join(root.name, "f32.onnx")
    if not os.path.exists(path):
        kept = tuple(torch.zeros(1, HEADS, 3, SIZE // HEADS) for _ in range(2 * LAYERS))
        axes = {name: {2: name} for name in names("past") + names("present")}
        torch.onnx.export(
            Gpt2().eval(),
            (torch.zeros(1, 2, dtype=torch.long), *kept),
            path,
            input_names=["ids", *names("past")],
            output_names=["logits", *names("present")],
            dynamic_axes={"ids": {1: "tokens"}, **axes},
            opset_version=17,
            dynamo=False,
        )
    return path


def file_of(kind):
    if kind == "f32":
        return exported()
    if kind != "int8":
        raise Unsupported(f"it has no {kind} on processors")
    path = os.path.join(root.name, "int8.onnx")
    if not os.path.exists(path):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(exported(), path, per_channel=True, weight_type=QuantType.QInt8)
    return path


def opened(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = shape["threads"]
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tokens(length):
    return torch.randint(shape["vocab_size"], (1, length)).numpy()


def step(session, ids, kept):
    feeds = dict(zip(names("past"), kept), ids=ids)
    logits, *kept = session.run(None, feeds)
    return numpy.array([[logits.argmax()]]), kept


def read(kind, length):
    if kind not in sessions:
        sessions[kind] = opened(file_of(kind))
    ids = tokens(length)
    start = time.perf_counter()
    held["next"], held["kept"] = step(sessions[kind], ids, past())
    return time.perf_counter() - start


def generate(kind, count):
    start = time.perf_counter()
    for _ in range(count):
        held["next"], held["kept"] = step(sessions[kind], held["next"], held["kept"])
    return (time.perf_counter() - start) / count


def first(kind, length):
    path = file_of(kind)
    start = time.perf_counter()
    step(opened(path), tokens(length), past())
    return time.perf_counter() - start


def file(kind, _number):
    return float(os.path.getsize(file_of(kind)))


SCOPES = {"read": read, "generate": generate, "first": first, "file": file}
