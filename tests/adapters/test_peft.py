"""PEFT adapters in and out: the logits are PEFT's own, on torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from checkpoints import VOCAB, write_checkpoint
from safetensors.torch import load_file, save_file

from edgelm.adapters.base import AdapterBase
from edgelm.adapters.export import export_adapter
from edgelm.adapters.files import read_adapter
from edgelm.adapters.peft import export_peft, import_peft
from edgelm.errors import EdgeLMError
from edgelm.model.load import load
from edgelm.tune.settings import MethodSettings
from edgelm.tune.step.methods import make_trainable

peft = pytest.importorskip("peft")

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
]
IDS = np.random.default_rng(2).integers(4, VOCAB, (1, 20))
BASE = AdapterBase("model", "model", "0" * 64, "mit", 3)

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ["q_proj", "down_proj"]},
    "rslora": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "dora": {"target_modules": ["o_proj", "up_proj"], "use_dora": True},
    "patterns": {
        "target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2}, "alpha_pattern": {"k_proj": 3},
    },
    "embeddings": {"target_modules": ["embed_tokens", "lm_head", "gate_proj"]},
    "some layers": {"target_modules": ["gate_proj"], "layers_to_transform": [1]},
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    directory = tmp_path_factory.mktemp("peft") / "model"
    return directory, write_checkpoint(directory)


def peft_adapter(network: Any, directory: Path, **settings: Any) -> np.ndarray[Any, Any]:
    """A random adapter, saved by PEFT; returns PEFT's logits."""
    torch.manual_seed(3)
    wrapped = peft.get_peft_model(network, peft.LoraConfig(r=4, lora_alpha=16, **settings))
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_" in name:
                value.add_(torch.randn_like(value) * 0.1)
        logits = wrapped(torch.tensor(IDS)).logits.numpy()
    wrapped.save_pretrained(directory)
    wrapped.unload()
    return np.array(logits)


def edgelm_logits(directory: Path, adapter: Path | None = None) -> np.ndarray[Any, Any]:
    return np.array(load(directory, adapter=adapter, check_fit=False).network(mx.array(IDS)))


@pytest.mark.parametrize("kind", KINDS)
def test_imported_adapters_compute_what_peft_computes(
    kind: str, model: tuple[Path, Any], tmp_path: Path
) -> None:
    directory, network = model
    expected = peft_adapter(network, tmp_path / "peft", **KINDS[kind])
    assert np.abs(expected - edgelm_logits(directory)).max() > 0.05
    imported = import_peft(tmp_path / "peft", tmp_path / "own", directory, _base(directory))
    assert np.abs(edgelm_logits(directory, imported) - expected).max() < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        MethodSettings(rank=4, alpha=12),
        MethodSettings(method="rslora", rank=4, targets=("attention",)),
        MethodSettings(method="dora", rank=4, layers="1"),
        MethodSettings(targets=("head", "embeddings", "mlp"), ranks=(("*.up_proj", 2),)),
    ],
)
def test_exported_adapters_compute_in_peft_what_they_compute_here(
    settings: MethodSettings, model: tuple[Path, Any], tmp_path: Path
) -> None:
    directory, network = model
    loaded = load(directory, check_fit=False)
    make_trainable(loaded.network, settings)
    mx.random.seed(5)
    parameters = loaded.network.trainable_parameters()
    noisy = _map(lambda value: value + 0.1 * mx.random.normal(value.shape), parameters)
    export_adapter(tmp_path / "own", noisy, settings, _base(directory), {})
    expected = edgelm_logits(directory, tmp_path / "own")
    assert np.abs(expected - edgelm_logits(directory)).max() > 0.05

    export_peft(read_adapter(tmp_path / "own"), tmp_path / "peft", directory)
    wrapped = peft.PeftModel.from_pretrained(network, tmp_path / "peft")
    with torch.no_grad():
        got = wrapped(torch.tensor(IDS)).logits.numpy()
    wrapped.unload()
    assert np.abs(got - expected).max() < 1e-4
    again = import_peft(tmp_path / "peft", tmp_path / "again", directory, _base(directory))
    assert np.abs(edgelm_logits(directory, again) - expected).max() < 1e-5


def _map(function: Any, tree: Any) -> Any:
    from mlx.utils import tree_map

    return tree_map(function, tree)


def _base(directory: Path) -> AdapterBase:
    from edgelm.library.identity import weights_identity

    return AdapterBase("model", str(directory), weights_identity(directory), "mit", 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "IA3"}, "expected LORA"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed the base's weights"),
        ({"r": None}, "no usable r"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_by_name(
    changes: dict[str, Any], words: str, model: tuple[Path, Any], tmp_path: Path
) -> None:
    directory, network = model
    peft_adapter(network, tmp_path / "peft", target_modules=["q_proj"])
    path = tmp_path / "peft" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(EdgeLMError) as caught:
        import_peft(tmp_path / "peft", tmp_path / "own", directory, BASE)
    assert words in str(caught.value)


@pytest.mark.parametrize("architecture", ["llama3", "gemma3_text"])
@pytest.mark.parametrize("targets", [["embed_tokens"], ["lm_head", "q_proj"]], ids=str)
def test_a_tied_embedding_is_adapted_in_both_places_as_peft_ties_them(
    architecture: str, targets: list[str], tmp_path: Path
) -> None:
    network = write_checkpoint(tmp_path / "model", architecture)
    directory = tmp_path / "model"
    expected = peft_adapter(network, tmp_path / "peft", target_modules=targets, ensure_weight_tying=True)
    assert np.abs(expected - edgelm_logits(directory)).max() > 0.05
    own = import_peft(tmp_path / "peft", tmp_path / "own", directory, _base(directory))
    assert np.abs(edgelm_logits(directory, own) - expected).max() < 1e-4

    export_peft(read_adapter(own), tmp_path / "again", directory)
    wrapped = peft.PeftModel.from_pretrained(network, tmp_path / "again")
    with torch.no_grad():
        got = wrapped(torch.tensor(IDS)).logits.numpy()
    assert np.abs(got - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["embed_tokens"], "adapts model.embed_tokens alone"),
        (["lm_head"], "adapts lm_head alone"),
        (["embed_tokens", "lm_head"], "adapts model.embed_tokens and lm_head apart"),
    ],
)
def test_an_adapter_of_one_of_two_tied_matrices_is_refused(
    targets: list[str], words: str, tmp_path: Path
) -> None:
    network = write_checkpoint(tmp_path / "model", "llama3")
    peft_adapter(network, tmp_path / "peft", target_modules=targets)
    with pytest.raises(EdgeLMError, match=f"{words}, and in this model embedding and head are one matrix"):
        import_peft(tmp_path / "peft", tmp_path / "own", tmp_path / "model", BASE)


def test_an_adapter_of_another_base_is_refused_at_load(model: tuple[Path, Any], tmp_path: Path) -> None:
    directory, network = model
    peft_adapter(network, tmp_path / "peft", target_modules=["q_proj"])
    imported = import_peft(tmp_path / "peft", tmp_path / "own", directory, BASE)
    with pytest.raises(EdgeLMError, match="was trained on model"):
        load(directory, adapter=imported, check_fit=False)


@pytest.mark.parametrize("index", ["adapter_model.safetensors.index.json", "adapters.safetensors.index.json"])
def test_an_adapter_in_shards_is_refused_by_its_index(
    index: str, model: tuple[Path, Any], tmp_path: Path
) -> None:
    (tmp_path / index).write_text(
        json.dumps({"weight_map": {"a": "adapter_model-00001-of-00001.safetensors"}})
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    for read in (
        lambda: read_adapter(tmp_path),
        lambda: import_peft(tmp_path, tmp_path / "made", model[0], _base(model[0])),
    ):
        with pytest.raises(EdgeLMError, match=rf"adapter in shards \({index}\)"):
            read()


def in_float64(file: Path) -> None:
    save_file({name: value.double() for name, value in load_file(file).items()}, file)


def test_adapters_in_float64_are_read_as_float32(model: tuple[Path, Any], tmp_path: Path) -> None:
    """`mx.load` refuses a file with one tensor of float64."""
    directory, network = model
    expected = peft_adapter(network, tmp_path / "peft", target_modules=["q_proj", "down_proj"])
    in_float64(tmp_path / "peft" / "adapter_model.safetensors")
    own = import_peft(tmp_path / "peft", tmp_path / "own", directory, _base(directory))
    in_float64(own / "adapters.safetensors")
    assert np.abs(edgelm_logits(directory, own) - expected).max() < 1e-4
