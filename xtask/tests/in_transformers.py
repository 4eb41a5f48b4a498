"""Converted folders in `transformers`: logits, padded batches, generation, and the way back.

    in_transformers.py XTASK MODEL PLACE

XTASK is the program, MODEL the folder of a GPT-2 with its tokenizer, PLACE a folder for what is
written. Every arm is compared with golden files by `cargo test`; this opens what `convert` writes.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

ARMS = {
    "default": [],
    "whole numbers": ["--arm", "moments:chunk_size=64,clusters=4,exact_clusters=3,kv_bits=32"],
    "summaries": ["--arm", "moments:chunk_size=64,exact_clusters=0,state=true,compression=4"],
    "published": ["--arm", "published:chunk_size=96"],
    "layers": ["--arm", "local:chunk_size=64", "--layers", "1=dense:kv_bits=8,2=moments:kv_bits=4"],
    "levels": ["--arm", "moments:chunk_size=64", "--level-budget", "0.001"],
    "positions": ["--positions", "5000"],
}
# Of the largest logit: sums in another order.
TOLERANCE = 1e-4
# Where much is kept in few bits, or few heads carry the far field: a number between two codes may become
# either of them, and predictions of a few positions then differ by more.
COARSE = {"layers", "positions"}
COARSE_SHARE, COARSE_TOLERANCE = 0.1, 1e-2
NEW_TOKENS = 24


class Program:
    """The program, and where it writes."""

    def __init__(self, path, place):
        self.path, self.place = path, place

    def run(self, *args):
        ran = subprocess.run([self.path, *map(str, args)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def convert(self, model, name, args):
        out = self.place / name.replace(" ", "-")
        self.run("convert", "--model", model, "--out", out, *args)
        return out

    def text(self, model, length):
        """Ids of a text that the model makes up."""
        sampled = ["--temperature", "1", "--seed", "5", "--max-new-tokens", length]
        out = self.run("generate", "--model", model, "--prompt", "Mara", *sampled, "--output-ids")
        return json.loads(out.splitlines()[-1])

    def rows(self, rows):
        file = self.place / "ids.json"
        file.write_text(json.dumps(rows))
        return file

    def logits(self, model, rows):
        out = self.place / "logits.safetensors"
        self.run("logits", "--model", model, "--ids-file", self.rows(rows), "--out", out)
        found = load_file(out)
        return [found[f"logits.{row}"] for row in range(len(rows))]

    def continuations(self, model, rows):
        args = ["--max-new-tokens", NEW_TOKENS, "--temperature", "0", "--output-ids"]
        out = self.run("generate", "--model", model, "--ids-file", self.rows(rows), *args)
        return json.loads(out.splitlines()[-1])


def padded(rows):
    """Ids and mask of a batch that is padded on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def opened(folder):
    model = AutoModelForCausalLM.from_pretrained(
        folder, trust_remote_code=True, dtype=torch.float32
    )
    return model.eval()


@torch.no_grad()
def compare(program, folder, name, rows):
    """Logits and continuations of both programs."""
    start = time.time()
    model = opened(folder)
    ids, mask = padded(rows)
    logits = model(ids, attention_mask=mask).logits
    errors = torch.cat(
        [
            (found[-len(row) :] - expected).abs().amax(-1) / expected.abs().max()
            for row, found, expected in zip(
                rows, logits, program.logits(folder, rows), strict=True
            )
        ]
    )
    worst, share = float(errors.max()), float((errors > TOLERANCE).float().mean())
    print(f"{name}: logits differ by {worst:.1e} of the largest, ", end="", flush=True)
    if name in COARSE:
        assert share <= COARSE_SHARE and worst <= COARSE_TOLERANCE, (name, share)
    else:
        assert worst <= TOLERANCE, name
    made = model.generate(
        ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
    )
    # Our rows end at the end of text, which is none of theirs.
    for ours, theirs in zip(program.continuations(folder, rows), made.tolist(), strict=True):
        assert theirs[ids.shape[1] :][: len(ours)] == ours, f"{name}: {ours} for {theirs}"
    print(f"continuations are the same ({time.time() - start:.0f} s)", flush=True)


def refused(folder):
    """What `transformers` says of a folder whose code is not trusted."""
    try:
        AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code=True" in str(error), error
        print("without trust_remote_code:", str(error).splitlines()[-1])
    else:
        raise AssertionError("a converted folder was opened without its code")


def saved_again(program, folder, rows):
    """A folder that `transformers` saved, as one that was trained there."""
    again = program.place / "again"
    opened(folder).save_pretrained(again)
    for ours, theirs in zip(program.logits(folder, rows), program.logits(again, rows), strict=True):
        assert torch.equal(ours, theirs)
    compare(program, again, "saved by transformers", rows)


@torch.no_grad()
def plain_again(program, original, folder, rows):
    """The way back, and the weights of a converted folder in a plain GPT-2."""
    dense = program.convert(folder, "dense", ["--arm", "dense"])
    assert not list(dense.glob("*.py"))
    assert type(AutoConfig.from_pretrained(dense)) is transformers.GPT2Config
    back = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.float32)
    weights = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    expected = GPT2LMHeadModel.from_pretrained(original, dtype=torch.float32)
    ids = torch.tensor(rows[:1])
    for model in (back, weights):
        assert torch.equal(model.eval()(ids).logits, expected.eval()(ids).logits)
    print("converted back: the plain GPT-2 that it was")


def main():
    xtask, original, place = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    program = Program(xtask, place)
    ids = program.text(original, 700)
    rows = [ids, ids[200:611], ids[:3]]
    tokenizers = []
    for name, args in ARMS.items():
        folder = program.convert(original, name, args)
        tokenizers.append(AutoTokenizer.from_pretrained(folder, trust_remote_code=True))
        compare(program, folder, name, rows)
    text = tokenizers[0].decode(ids)
    assert AutoTokenizer.from_pretrained(original)(text).input_ids == tokenizers[0](text).input_ids
    first = place / "default"
    refused(first)
    saved_again(program, first, rows)
    plain_again(program, original, first, rows)


if __name__ == "__main__":
    main()
