"""Loading: a model directory in, a network and its tokenizer out.

Everything that edgelm knows to be wrong or unsafe in loading is put right here: hostile headers are
refused before MLX reads them, configs are normalised, no code from the checkpoint runs, and on MLX's
CPU backend parameters become float32 (DESIGN: half precision and quantized matmuls crawl there).
Must be called on the thread that will run the model: MLX's streams belong to threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map_with_path

from edgelm import device
from edgelm.adapters.base import check_base
from edgelm.adapters.files import read_adapter
from edgelm.adapters.stack import AdapterStack
from edgelm.adapters.use import AdapterUse
from edgelm.errors import NotFoundError
from edgelm.json_files import read_json
from edgelm.pricing.fit import require_fit
from edgelm.text.families.family import family_of
from edgelm.zoo.caches.settings import CacheSettings
from edgelm.zoo.configs import normalise as configs
from edgelm.zoo.configs.check import check_architecture
from edgelm.zoo.precision.dense import dequantize
from edgelm.zoo.precision.float16 import use_float16
from edgelm.zoo.protocol import may_cast
from edgelm.zoo.stop import check_stop
from edgelm.zoo.tokenizers import wrapped_tokenizer
from edgelm.zoo.tree import flat_parameters
from edgelm.zoo.weights.files import read_headers
from edgelm.zoo.weights.network import load_network
from edgelm.zoo.weights.packing import check_packing, with_packing


@dataclass(frozen=True)
class LoadedModel:
    """A network in memory, with what is needed to talk to it."""

    network: Any
    """An mlx nn.Module: `logits = network(ids[B, T], cache=caches)`, logits of [B, T, V]."""
    tokenizer: Any
    """mlx_lm's TokenizerWrapper around a transformers tokenizer."""
    config: dict[str, Any]
    """The normalised config.json."""
    directory: Path
    name: str
    vocab_size: int
    context_length: int | None
    """Tokens the model was trained for; None if the config does not say."""
    stop_tokens: frozenset[int]
    size_bytes: int
    """The size of the parameters in memory."""
    dtype: str
    """The type of the parameters that are not packed: "float32", "bfloat16", "float16"; "mixed" where they differ."""
    adapters: AdapterStack
    """What is on the network, to be weighted or turned off between requests."""


def load(
    directory: Path,
    *,
    adapter: Path | Sequence[AdapterUse] | None = None,
    dtype: str | None = None,
    check_fit: bool = True,
    keep_range: bool = False,
    stop: threading.Event | None = None,
    kind: CacheSettings | None = None,
) -> LoadedModel:
    """Load the model in `directory`, ready to run on this machine's backend.

    Args:
        directory: a standard MLX-LM or Hugging Face safetensors directory.
        adapter: a directory of mlx-lm adapters (adapters.safetensors, adapter_config.json) to apply, or several
            with their weights.
        dtype: cast floating parameters to "float16", "bfloat16" or "float32"; None follows the
            device policy (as stored on a GPU, but bfloat16 as float16 on M1 and M2 where the family and the values
            allow it; float32 and dequantized on the CPU).
        check_fit: refuse a model that would not fit in memory.
        keep_range: what is stored in bfloat16 stays so on every GPU, since it is to be trained or written.
        stop: looked at between the steps of loading and the tensors that are read; set, it ends them.
        kind: how its KV cache will be kept, for that; None is as computed.

    Raises:
        Interrupted: `stop` was set.
        NotFoundError: no such directory, no config, no weights, no tokenizer.
        FormatError: a file is broken; a tensor is missing, extra or misshapen (named).
        UnsafeError: the checkpoint asks for code to be run.
        UnsupportedError: mlx-lm cannot run the architecture, or an adapter belongs to another base.
        FitError: it would not fit.
    """
    if not directory.is_dir():
        raise NotFoundError(f"{directory} is not a directory")
    config = configs.normalise_config(configs.read_config(directory))
    check_architecture(config)
    check_packing(with_packing(config, directory), read_headers(directory), directory)
    machine = device.detect()
    if check_fit:
        require_fit(directory, config, machine, kind=kind or CacheSettings())
    device.configure_mlx(machine)
    check_stop(stop)
    network, config = load_network(directory, with_packing(config, directory))
    check_stop(stop)
    if dtype is None and not keep_range and device.prefers_float16(machine):
        use_float16(network, config, directory.absolute().name, stop)
    _apply_dtype(network, dtype, machine, stop)
    stack = _stack_adapters(network, directory, adapter)
    check_stop(stop)
    tokenizer = load_tokenizer(directory, config)
    return _describe(network, tokenizer, config, directory, stack)


def _stack_adapters(
    network: Any, directory: Path, adapter: Path | Sequence[AdapterUse] | None
) -> AdapterStack:
    stack = AdapterStack(network)
    uses = [AdapterUse(adapter)] if isinstance(adapter, Path) else adapter or ()
    for use in uses:
        found = read_adapter(use.directory)
        check_base(found, directory)
        stack.add(found, weight=use.weight)
    return stack


def _apply_dtype(
    network: Any, dtype: str | None, machine: device.Device, stop: threading.Event | None
) -> None:
    """Cast, dequantize on the CPU, and read the parameters module by module, so that peak memory is the result's."""
    target = dtype or device.runtime_dtype(machine)
    if target is not None:
        wanted: mx.Dtype = getattr(mx, target)

        def cast(path: str, value: mx.array) -> mx.array:
            is_cast = mx.issubdtype(value.dtype, mx.floating) and may_cast(network, path)
            return value.astype(wanted) if is_cast else value

        network.update(tree_map_with_path(cast, network.parameters()))
    if device.should_dequantize(machine, _dequantized_bytes(network)):
        dequantize(network, mx.float32 if target is None else getattr(mx, target), stop)
    for value in flat_parameters(network).values():
        check_stop(stop)
        mx.eval(value)


def _dequantized_bytes(network: Any) -> int:
    return sum(
        value.size * 32 // _bits_at(network, path) * 4 if value.dtype == mx.uint32 else value.nbytes
        for path, value in flat_parameters(network).items()
    )


def _bits_at(network: Any, path: str) -> int:
    module = network
    for part in path.split(".")[:-1]:
        module = module[int(part)] if isinstance(module, list) else module[part]
    return int(getattr(module, "bits", 32))


def load_tokenizer(directory: Path, config: dict[str, Any], *, shown: Path | str | None = None) -> Any:
    """mlx_lm's TokenizerWrapper for `directory`, read with no network and no code from the checkpoint.

    Args:
        shown: what messages call `directory`, where it is a temporary copy of something else.

    Raises:
        NotFoundError: there is no tokenizer.
        FormatError: its files are broken.
        UnsafeError: it is made of Python code in the checkpoint.
    """
    if not any(
        (directory / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    ):
        raise NotFoundError(
            f"{directory} has no tokenizer (tokenizer.json or tokenizer.model)",
            hint="copy the tokenizer files of the original model beside the weights",
        )
    tokenizer = wrapped_tokenizer(directory, _stop_ids(directory, config), shown=shown or directory)
    # Some configs leave out what ends a function call (gpt-oss's, Llama 3's).
    tokenizer.eos_token_ids |= set(tokenizer.convert_tokens_to_ids(list(family_of(tokenizer).stops)))
    return tokenizer


def _stop_ids(directory: Path, config: dict[str, Any]) -> list[int]:
    """End-of-sequence ids: generation_config.json's where given, else config.json's, else its text model's. 0 is one."""
    path = directory / "generation_config.json"
    generation = read_json(path) if path.exists() else {}
    text = config.get("text_config")
    for part in (generation, config, text if isinstance(text, dict) else {}):
        said = part.get("eos_token_id")
        if said is not None and said != []:
            ids = said if isinstance(said, list) else [said]
            return [token for token in ids if isinstance(token, int) and not isinstance(token, bool)]
    return []


def _describe(
    network: Any, tokenizer: Any, config: dict[str, Any], directory: Path, stack: AdapterStack
) -> LoadedModel:
    parameters = flat_parameters(network).values()
    floating = {
        str(value.dtype).rpartition(".")[2] for value in parameters if mx.issubdtype(value.dtype, mx.floating)
    }
    text = config.get("text_config") or config
    return LoadedModel(
        network=network,
        tokenizer=tokenizer,
        config=config,
        directory=directory,
        name=directory.absolute().name,
        vocab_size=int(text["vocab_size"]) if "vocab_size" in text else len(tokenizer),
        context_length=configs.context_length(config),
        stop_tokens=frozenset(tokenizer.eos_token_ids),
        size_bytes=sum(value.nbytes for value in parameters),
        dtype=floating.pop() if len(floating) == 1 else "mixed",
        adapters=stack,
    )
