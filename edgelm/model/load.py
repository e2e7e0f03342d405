"""The one door to mlx_lm models: a directory in, a network and its tokenizer out.

Everything that edgelm knows to be wrong or unsafe in loading is put right here: hostile headers are
refused before MLX reads them, configs are normalised, no code from the checkpoint runs, and on MLX's
CPU backend parameters become float32 (DESIGN: half precision and quantized matmuls crawl there).
Must be called on the thread that will run the model: MLX's streams belong to threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path, tree_unflatten

from edgelm import device
from edgelm.errors import FormatError, NotFoundError, UnsafeError
from edgelm.model import config as configs
from edgelm.model.fit import require_fit
from edgelm.model.network import build_network, keep_file_limit, mlx_lm_errors, use_named_settings
from edgelm.model.safetensors_header import read_header
from edgelm.quant.tree import flat_parameters


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
    """Of the parameters in memory."""
    dtype: str
    """Of the parameters that are not packed: "float32", "bfloat16", "float16"."""


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, headers checked.

    Raises:
        NotFoundError: there are none.
        FormatError: a header is broken, or the index names a file that is missing.
    """
    index_path = directory / "model.safetensors.index.json"
    found = sorted(directory.glob("model*.safetensors"))
    if index_path.exists():
        listed = configs.read_json(index_path).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise FormatError(f"{index_path} has no weight_map of file names")
        _check_index(listed, directory, index_path)
    if not found:
        raise NotFoundError(
            f"{directory} holds no model*.safetensors",
            hint="edgelm convert reads PyTorch, Meta and GGUF weights",
        )
    for path in found:
        read_header(path)
    return found


def _check_index(listed: dict[str, str], directory: Path, index_path: Path) -> None:
    for name in sorted(set(listed.values())):
        if Path(name).name != name:
            raise UnsafeError(f"{index_path} names {name!r}, a path outside the model directory")
        if not (directory / name).exists():
            raise FormatError(f"{directory / name} is missing, and {index_path.name} names it")


def load(
    directory: Path, *, adapter: Path | None = None, dtype: str | None = None, check_fit: bool = True
) -> LoadedModel:
    """Load the model in `directory`, ready to run on this machine's backend.

    Args:
        directory: a standard MLX-LM or Hugging Face safetensors directory.
        adapter: a directory of mlx-lm adapters (adapters.safetensors, adapter_config.json) to apply.
        dtype: cast floating parameters to "float16", "bfloat16" or "float32"; None follows the
            device policy (as stored on a GPU, float32 and dequantized on the CPU).
        check_fit: refuse a model that would not fit in memory.

    Raises:
        NotFoundError: no such directory, no config, no weights, no tokenizer.
        FormatError: a file is broken; a tensor is missing, extra or misshapen (named).
        UnsafeError: the checkpoint asks for code to be run.
        UnsupportedError: mlx-lm cannot run the architecture.
        FitError: it would not fit.
    """
    if not directory.is_dir():
        raise NotFoundError(f"{directory} is not a directory")
    config = configs.normalise_config(configs.read_config(directory))
    configs.check_architecture(config)
    weight_files(directory)
    machine = device.detect()
    if check_fit:
        require_fit(directory, config, machine)
    device.configure_mlx(machine)
    network = _load_network(directory, config, adapter)
    _apply_dtype(network, dtype, machine)
    tokenizer = load_tokenizer(directory, config)
    return _describe(network, tokenizer, config, directory)


def _load_network(directory: Path, config: dict[str, Any], adapter: Path | None) -> Any:
    with keep_file_limit():
        from mlx_lm.utils import load_adapters, load_model

    # Builds the network once more than needed, to name an unreadable RoPE before weights are read.
    build_network(config, directory)
    with mlx_lm_errors(directory):
        network, _ = load_model(directory, lazy=True, model_config=config)
    use_named_settings(network, config)
    if adapter is not None:
        for name in ("adapters.safetensors", "adapter_config.json"):
            if not (adapter / name).exists():
                raise NotFoundError(f"{adapter / name} does not exist, so {adapter} is not an mlx-lm adapter")
        read_header(adapter / "adapters.safetensors")
        with mlx_lm_errors(adapter):
            network = load_adapters(network, str(adapter))
            network.eval()
    return network


def _apply_dtype(network: Any, dtype: str | None, machine: device.Device) -> None:
    """Cast, dequantize on the CPU, and read the parameters module by module, so that peak memory is the result's."""
    target = dtype or device.runtime_dtype(machine)
    if target is not None:
        kept = getattr(network, "cast_predicate", lambda _: True)
        wanted: mx.Dtype = getattr(mx, target)

        def cast(path: str, value: mx.array) -> mx.array:
            return value.astype(wanted) if kept(path) and mx.issubdtype(value.dtype, mx.floating) else value

        network.update(tree_map_with_path(cast, network.parameters()))
    if device.should_dequantize(machine, _dequantized_bytes(network)):
        dequantize(network, mx.float32 if target is None else getattr(mx, target))
    mx.eval(network.parameters())


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


def dequantize(network: Any, dtype: mx.Dtype) -> None:
    """Replace quantized linear, embedding and expert layers by dense ones of the same values, in place.

    One module at a time. Scales should be float32 beforehand: codes times scale is then exact enough
    to equal the reference dequantization.
    """
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    kinds: dict[type, type] = {
        nn.QuantizedLinear: nn.Linear,
        nn.QuantizedEmbedding: nn.Embedding,
        QuantizedSwitchLinear: SwitchLinear,
    }
    replaced = []
    for path, module in network.named_modules():
        dense_kind = kinds.get(type(module))
        if dense_kind is not None:
            replaced.append((path, _dense(module, dense_kind, dtype)))
    if replaced:
        network.update_modules(tree_unflatten(replaced))


def _dense(module: Any, kind: Any, dtype: mx.Dtype) -> Any:
    packed = (module.weight, module.scales, module.get("biases"))
    weight = mx.dequantize(*packed, module.group_size, module.bits, module.mode, dtype=dtype)
    mx.eval(weight)
    # The constructor would draw random weights of the full size; only the attributes are wanted.
    dense = kind.__new__(kind)
    nn.Module.__init__(dense)  # type: ignore[no-untyped-call]
    dense.weight = weight
    if "bias" in module:
        dense.bias = module.bias
    dense.eval()
    return dense


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
    with keep_file_limit():
        from mlx_lm.tokenizer_utils import load as load_wrapper
    try:
        with mlx_lm_errors(directory, shown=shown):
            return load_wrapper(
                directory,
                {"trust_remote_code": False, "local_files_only": True},
                eos_token_ids=_stop_ids(directory, config),
            )
    except FormatError as error:
        if "trust_remote_code" not in error.message:
            raise
        raise UnsafeError(
            f"the tokenizer of {shown or directory} is Python code, and edgelm runs no code from checkpoints",
            hint="look for a release of the model with a tokenizer.json",
        ) from error


def _stop_ids(directory: Path, config: dict[str, Any]) -> list[int]:
    """End-of-sequence ids: generation_config.json's where given, else config.json's."""
    said = config.get("eos_token_id")
    path = directory / "generation_config.json"
    if path.exists():
        said = configs.read_json(path).get("eos_token_id") or said
    ids = said if isinstance(said, list) else [said]
    return [token for token in ids if isinstance(token, int)]


def _describe(network: Any, tokenizer: Any, config: dict[str, Any], directory: Path) -> LoadedModel:
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
    )
