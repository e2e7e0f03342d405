"""Ministral 3's FP8 is decoded before `sanitize` sees it: mlx-lm's own multiplies the bytes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from checkpoints import write_tokenizer
from safetensors.torch import load_file, save_file
from upstream import EQUAL, TOKENS, logits_of, mended, publish
from upstream_cases import MINISTRAL

import edgelm
from edgelm.errors import UnsupportedError
from edgelm_converters.convert import convert

pytestmark = [pytest.mark.parity, pytest.mark.slow]

FP8 = {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}
LARGEST = 448.0
"""Of e4m3."""


def test_the_scale_of_a_tensor_multiplies_values_and_not_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    network = publish(transformers.Ministral3Config(**{**MINISTRAL, "sliding_window": None}), source).network
    write_tokenizer(source)
    stored, decoded = {}, {}
    for name, weight in load_file(source / "model.safetensors").items():
        stored[name] = weight
        if name.endswith("_proj.weight"):
            scale = (weight.abs().max() / LARGEST).to(torch.bfloat16)
            stored[name] = (weight / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale
            stored[name.replace("weight", "activation_scale")] = torch.tensor(0.5, dtype=torch.bfloat16)
            decoded[name] = stored[name].float() * scale.float()
    save_file(stored, source / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "quantization_config": FP8}))
    network.load_state_dict(decoded, strict=False)
    with torch.no_grad():
        expected = network(input_ids=torch.tensor([TOKENS])).logits[0].numpy()

    made = convert(source, tmp_path / "made", mode="none", dtype="float32")
    found = logits_of(mended(made.directory))
    assert np.abs(found - expected).max() < EQUAL * max(1.0, np.abs(expected).max())
    with pytest.raises(UnsupportedError, match="FP8"):
        edgelm.load(source, check_fit=False)
