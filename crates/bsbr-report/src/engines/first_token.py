"""Opens a GPT-2 folder in transformers and gives the first token after the ids 0, 1, 2 and so on.

The arguments are the folder, the number of ids and of threads. What it prints is a JSON object:
seconds from the start of this script until the libraries were there, until the model was, and until
the token was; the token; and the most memory that the process held, in bytes.
"""

import time

start = time.perf_counter()

import json
import sys

import torch
from transformers import GPT2LMHeadModel

folder, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
ready = time.perf_counter() - start
with torch.inference_mode():
    model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    loaded = time.perf_counter() - start
    ids = torch.arange(count)[None] % model.config.vocab_size
    hidden = model.transformer(ids, use_cache=False).last_hidden_state[:, -1]
    token = model.lm_head(hidden).argmax(-1).item()
first = time.perf_counter() - start
with open("/proc/self/status") as lines:
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
print(json.dumps({"ready": ready, "loaded": loaded, "first": first, "token": token, "peak": peak}))
