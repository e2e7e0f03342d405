"""What becomes trainable, with which rank and scale; and that stock mlx-lm agrees about what it computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tune_networks import make_batch, make_network

import edgelm.adapters.stack as stack_module
from edgelm.adapters.files import AdapterConfig, read_adapter, write_adapter
from edgelm.adapters.stack import AdapterStack
from edgelm.errors import EdgeLMError, FormatError, NotFoundError, OptionError, UnsupportedError
from edgelm.library.manifest import Manifest
from edgelm.tune.settings import MethodSettings, OptimizerSettings
from edgelm.tune.step.methods import make_trainable
from edgelm.tune.step.optimizer import Optimizer
from edgelm.tune.step.stepper import Stepper
from edgelm.zoo.tree import flat_trainable

IDS = mx.array([[5, 9, 2, 77, 31, 8]])


def trained(network: Any, settings: MethodSettings, steps: int = 3) -> Any:
    make_trainable(network, settings)
    step = Stepper(network, Optimizer(OptimizerSettings()), compiled=False)
    for seed in range(steps):
        step.update(step.gradients(make_batch([12, 9], seed=seed)), 1e-2)
    step.sync()
    network.eval()
    return network


def saved(network: Any, settings: MethodSettings, directory: Path) -> Path:
    directory.mkdir()
    kind = {"rslora": "lora"}.get(settings.method, settings.method)
    config = AdapterConfig(kind=kind, rank=settings.rank, scale=settings.scale_of(""), num_layers=2)
    write_adapter(directory, config, flat_trainable(network), Manifest(source="base", kind="adapter"))
    return directory


CASES = [
    ("llama", None, MethodSettings()),
    ("llama", 4, MethodSettings(rank=4)),
    ("llama", None, MethodSettings(method="rslora", rank=16, targets=("attention",))),
    ("llama", None, MethodSettings(method="dora")),
    ("llama", 3, MethodSettings(method="dora")),
    ("llama", None, MethodSettings(targets=("linear", "head", "embeddings"))),
    ("llama-tied", 4, MethodSettings(targets=("linear", "embeddings"))),
    ("llama-tied", None, MethodSettings(method="dora", targets=("embeddings", "*.v_proj"))),
    ("qwen3_moe", None, MethodSettings(targets=("mlp",))),
    ("qwen3_moe", 4, MethodSettings(targets=("mlp", "attention"), layers="-1")),
    ("llama", None, MethodSettings(method="full")),
    ("llama", None, MethodSettings(method="full", layers="1")),
]


@pytest.mark.parametrize(("kind", "bits", "settings"), CASES)
def test_a_trained_network_its_stack_and_stock_mlx_lm_compute_the_same(
    kind: str, bits: int | None, settings: MethodSettings, tmp_path: Path
) -> None:
    from mlx_lm.tuner.utils import load_adapters

    network = make_network(kind, bits=bits)
    before = network(IDS)
    trained(network, settings)
    expected = network(IDS)
    assert mx.abs(expected - before).max().item() > 1e-2
    directory = saved(network, settings, tmp_path / "adapter")

    stacked = make_network(kind, bits=bits)
    stack = AdapterStack(stacked)
    stack.add(read_adapter(directory))
    assert mx.abs(stacked(IDS) - expected).max().item() < 2e-5

    stock = make_network(kind, bits=bits)
    if not (settings.method == "dora" and bits == 3):  # which mlx-lm cannot build
        stock = load_adapters(stock, str(directory))
        stock.eval()
        assert mx.abs(stock(IDS) - expected).max().item() < 2e-5


def test_only_what_was_asked_for_is_trained() -> None:
    network = make_network("llama", num_hidden_layers=4)
    settings = MethodSettings(targets=("*.q_proj", "mlp"), layers="0,2-3", ranks=(("*.down_proj", 2),))
    paths = make_trainable(network, settings)
    assert {path.split(".")[2] for path in paths} == {"0", "2", "3"}
    assert {path.rpartition(".")[2] for path in paths} == {"q_proj", "gate_proj", "up_proj", "down_proj"}
    shapes = {name: value.shape for name, value in tree_flatten(network.trainable_parameters())}
    assert shapes["model.layers.2.mlp.down_proj.lora_a"] == (96, 2)
    assert shapes["model.layers.2.mlp.up_proj.lora_b"] == (8, 96)
    assert {name.rpartition(".")[2] for name in shapes} == {"lora_a", "lora_b"}


def test_scales() -> None:
    assert MethodSettings(rank=16, alpha=32).scale_of("x") == 2
    assert MethodSettings(method="rslora", rank=16, alpha=32).scale_of("x") == 8
    assert MethodSettings(rank=16, alpha=32, ranks=(("*.v", 4),)).scale_of("a.v") == 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": ("q_prj",)}, "'q_prj' matches no module"),
        ({"layers": "0-9"}, "layers 0 to 1"),
        ({"layers": "-3"}, "layers 0 to 1"),
        ({"layers": "all"}, "expected -8"),
        ({"ranks": (("*.k_prj", 4),)}, "'*.k_prj' matches none"),
        ({"rank": 0}, "rank is 0"),
        ({"method": "dora", "targets": ("*",)}, "no DoRA"),
    ],
)
def test_what_would_train_nothing_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EdgeLMError) as caught:
        make_trainable(make_network("qwen3_moe"), MethodSettings(**settings))
    assert words in str(caught.value)


def test_quantized_weights_are_not_trained_themselves() -> None:
    with pytest.raises(UnsupportedError, match="quantized weights cannot be trained"):
        make_trainable(make_network(bits=4), MethodSettings(method="full"))


def adapters(tmp_path: Path, *methods: str) -> list[Path]:
    made = []
    for method in methods:
        settings = MethodSettings(method=method, targets=("attention",))
        made.append(saved(trained(make_network(), settings), settings, tmp_path / method))
    return made


def test_adapters_are_weighted_and_turned_off_while_the_network_lives(tmp_path: Path) -> None:
    """Off is off for DoRA too, whose trained magnitude a scale of 0 would leave in place."""
    first, second = adapters(tmp_path, "lora", "dora")
    base, network = make_network()(IDS), make_network()
    stack = AdapterStack(network)
    stack.add(read_adapter(first), weight=1.0)
    alone = network(IDS)
    stack.add(read_adapter(second), name="other", weight=0.5)
    assert stack.weights == {"lora": 1.0, "other": 0.5}
    assert mx.abs(network(IDS) - alone).max().item() > 1e-3
    stack.set("other", 0.0)
    assert mx.array_equal(network(IDS), alone)
    stack.set("lora", 0.0)
    assert mx.array_equal(network(IDS), base)
    with pytest.raises(EdgeLMError, match="no adapter 'x'"):
        stack.set("x", 1.0)
    with pytest.raises(OptionError, match="there is an adapter 'other'"):
        stack.add(read_adapter(first), name="other")


def test_an_adapter_that_is_refused_is_not_in_the_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The KV caches that the base computes after the refusal are the base's."""
    full, lora = adapters(tmp_path, "full", "lora")
    stack = AdapterStack(network := make_network())
    with pytest.raises(OptionError, match="whose weight is 1"):
        stack.add(read_adapter(full), weight=0.5)
    assert stack.variant == ""
    with pytest.raises(OptionError, match="finite"):
        stack.add(read_adapter(lora), weight=float("nan"))
    assert (stack.variant, stack.weights) == ("", {})
    last, layer = read_adapter(lora).modules[-1], stack_module._layer

    def fail_at_last(path: str, base: Any, adapter: Any) -> Any:
        if path == last:
            raise FormatError("broken")
        return layer(path, base, adapter)

    with monkeypatch.context() as patched, pytest.raises(FormatError, match="broken"):
        patched.setattr(stack_module, "_layer", fail_at_last)
        stack.add(read_adapter(lora))
    assert (stack.variant, stack.weights) == ("", {})
    assert mx.array_equal(network(IDS), make_network()(IDS))
    stack.add(read_adapter(lora))
    assert stack.variant


def test_a_full_fine_tune_is_listed_with_the_only_weight_that_it_can_have(tmp_path: Path) -> None:
    (full,) = adapters(tmp_path, "full")
    stack = AdapterStack(make_network())
    stack.add(read_adapter(full))
    stack.set("full", 1.0)
    variant = stack.variant
    with pytest.raises(OptionError, match="whose weight is 1"):
        stack.set("full", 0.0)
    assert (stack.weights, stack.variant) == ({"full": 1.0}, variant)
    assert variant


@pytest.mark.slow
def test_adapters_of_one_directory_name_are_known_by_their_directories(tmp_path: Path) -> None:
    """The results of all runs are called step-…: a second one is known by its run's name."""
    stack, directories = AdapterStack(make_network()), []
    for run, source in zip("abc", adapters(tmp_path, "lora", "dora", "rslora"), strict=True):
        folder = tmp_path / "runs" / run / "adapters"
        folder.mkdir(parents=True)
        directories.append(source.rename(folder / "step-00000100"))
    other = Path(shutil.copytree(directories[0], tmp_path / "copies" / "step-00000100"))
    names = [stack.add(read_adapter(directory)) for directory in [*directories, other]]
    assert names == ["step-00000100", "b", "c", "step-00000100-2"]
    stack.set(str(directories[1]), 0.5)
    stack.set(str(other), 0.0)
    assert list(stack.weights.values()) == [1.0, 0.5, 1.0, 0.0]
    with pytest.raises(OptionError, match="there is an adapter 'b'"):
        stack.add(read_adapter(directories[1]))
    for unknown in (str(tmp_path / "step-00000100"), "~nobody/x", "a\0b", "c/../a"):
        with pytest.raises(NotFoundError, match="no adapter"):
            stack.set(unknown, 1.0)


def test_the_name_of_a_full_fine_tune_is_taken(tmp_path: Path) -> None:
    full, lora = adapters(tmp_path, "full", "lora")
    stack = AdapterStack(make_network())
    stack.add(read_adapter(full), name="x")
    variant = stack.variant
    with pytest.raises(OptionError, match="there is an adapter 'x'"):
        stack.add(read_adapter(lora), name="x")
    assert stack.variant == variant


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {f"{k}x": v for k, v in t.items()}, "expected names that end in lora_a"),
        (lambda t: {k.replace("q_proj", "z_proj"): v for k, v in t.items()}, "which this model does not have"),
        (lambda t: {k: v[:-1] for k, v in t.items()}, "this model's would be"),
        (lambda t: {k: v for k, v in t.items() if "lora_a" not in k}, "expected ['lora_a', 'lora_b']"),
        (lambda t: {k: v * 0 for k, v in t.items()}, "would change nothing"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_fit_or_does_nothing_is_refused(
    change: Any, words: str, tmp_path: Path
) -> None:
    (path,) = adapters(tmp_path, "lora")
    mx.save_safetensors(str(path / "adapters.safetensors"), change(dict(read_adapter(path).tensors)))
    with pytest.raises(EdgeLMError) as caught:
        AdapterStack(make_network()).add(read_adapter(path))
    assert words in str(caught.value)


def test_the_config_on_disk_is_mlx_lms(tmp_path: Path) -> None:
    (path,) = adapters(tmp_path, "rslora")
    said = json.loads((path / "adapter_config.json").read_text())
    assert said["fine_tune_type"] == "lora"
    assert said["lora_parameters"]["scale"] == pytest.approx(16 / 8**0.5)
    assert "model.layers.0.self_attn.q_proj" in said["lora_parameters"]["keys"]
