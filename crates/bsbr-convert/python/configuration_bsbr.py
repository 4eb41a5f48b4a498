# SPDX-License-Identifier: MIT OR Apache-2.0
# Part of BSBR, https://github.com/bsbr-rs/bsbr
"""Configuration of a GPT-2 whose layers have attention arms of BSBR."""

from __future__ import annotations

from typing import Any

from transformers import GPT2Config

NEAR = {"chunk_size": 128, "near_chunks": 1, "sink_tokens": 4}

# The settings of each arm, with what they are where a file does not say.
SETTINGS: dict[str, dict[str, Any]] = {
    "dense": {"kv_bits": 32},
    "local": NEAR,
    "published": {"chunk_size": 128, "compression": 1},
    "moments": {
        **NEAR,
        "clusters": 8,
        "state": False,
        "exact_clusters": 12,
        "compression": 1,
        "learned": False,
        "kv_bits": 32,
        "levels": [],
        "span": 0,
        "opened": 8,
    },
}


class BsbrGpt2Config(GPT2Config):
    """A GPT-2's configuration with a `bsbr` object, which names the arm of every layer."""

    model_type = "bsbr_gpt2"

    def __init__(self, bsbr: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # Set before the rest, which may look at attributes.
        self.bsbr = bsbr
        super().__init__(**kwargs)

    def arm(self, layer: int) -> dict[str, Any]:
        """The arm of a layer: its name under `arm`, and every setting that it has."""
        bsbr = self.bsbr or {"version": 1, "layers": []}
        if bsbr["version"] != 1:
            raise ValueError(
                f"config.json has version {bsbr['version']} of the `bsbr` object, and this code "
                "reads version 1: take the Python files that were saved with the model"
            )
        layers = bsbr["layers"]
        given = layers[layer] if layer < len(layers) else {"arm": "dense"}
        name = given["arm"]
        settings = SETTINGS.get(name)
        unknown = set(given) - {"arm"} - set(settings or ())
        if settings is None or unknown:
            what = f"arm `{name}`" if settings is None else f"settings {sorted(unknown)}"
            raise ValueError(
                f"layer {layer} has the {what}, which this code does not know: take the Python "
                "files that were saved with the model"
            )
        return {**settings, **given}
