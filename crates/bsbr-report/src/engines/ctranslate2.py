"""Times GPT-2 of a given shape in CTranslate2: one request a line, one answer a line.

The argument is a JSON object with the shape, the number of threads and the most tokens of a text. A
request is "f32|bf16|int8 SCOPE NUMBER", the first what weights are kept and multiplied in, and the
answer is the seconds of one run, or what went wrong. Weights and inputs are random. The scopes:

    read TOKENS       reading so many tokens, to the token after them
    generate TOKENS   a token after those that were read last: the mean of so many, the likeliest each
    first TOKENS      from a folder on the disk to the token after so many
    file 0            the bytes of the folder's weights
"""

import json
import os
import sys
import tempfile
import time

shape = json.loads(sys.argv[1])

import ctranslate2
import torch
from ctranslate2.converters.transformers import GPT2Loader
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
COMPUTE = {"f32": "float32", "bf16": "bfloat16", "int8": "int8"}
root = tempfile.TemporaryDirectory()
models = {}
held = {}

# Tokens that are generated after those that were read.
ROOM = 128


def network():
    config = GPT2Config(
        n_layer=shape["n_layer"],
        n_head=shape["n_head"],
        n_embd=shape["n_embd"],
        n_inner=shape["n_inner"],
        vocab_size=shape["vocab_size"],
        n_positions=shape["positions"],
    )
    return GPT2LMHeadModel(config).eval()


def folder(kind):
    """A converted model on the disk."""
    path = os.path.join(root.name, kind)
    if not os.path.isdir(path):
        if COMPUTE.get(kind) not in ctranslate2.get_supported_compute_types("cpu"):
            raise Unsupported(f"it has no {kind} on this processor")
        spec = GPT2Loader().get_model_spec(network())
        spec.register_vocabulary([str(id) for id in range(shape["vocab_size"])])
        spec.config.unk_token = spec.config.bos_token = spec.config.eos_token = "0"
        spec.validate()
        spec.optimize(quantization=COMPUTE[kind])
        os.makedirs(path)
        spec.save(path)
    return path


def opened(path, kind):
    return ctranslate2.Generator(
        path,
        device="cpu",
        compute_type=COMPUTE[kind],
        inter_threads=1,
        intra_threads=shape["threads"],
    )


def generated(model, prompt, count):
    """When the call began, and when each of so many tokens was there."""
    times = []
    start = time.perf_counter()
    model.generate_batch(
        [prompt],
        max_length=count,
        min_length=count,
        sampling_topk=1,
        include_prompt_in_result=False,
        callback=lambda step: times.append(time.perf_counter()) or False,
    )
    return start, times


def tokens(length):
    return [str(id) for id in torch.randint(shape["vocab_size"], (length,)).tolist()]


def read(kind, length):
    if kind not in models:
        models[kind] = opened(folder(kind), kind)
    held["start"], held["times"] = generated(models[kind], tokens(length), ROOM + 1)
    return held["times"][0] - held["start"]


def generate(_kind, count):
    times = held["times"]
    return (times[min(count, ROOM)] - times[0]) / min(count, ROOM)


def first(kind, length):
    path = folder(kind)
    start = time.perf_counter()
    _, times = generated(opened(path, kind), tokens(length), 1)
    return times[0] - start


def file(kind, _number):
    return float(os.path.getsize(os.path.join(folder(kind), "model.bin")))


SCOPES = {"read": read, "generate": generate, "first": first, "file": file}
