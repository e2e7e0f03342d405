"""A checkpoint of compressed-tensors: what a module's tensors are called and stored as says how it is packed.

A config may put modules into groups of several formats, and names them by classes and patterns; tensors do not lie about
it, so that neither `targets` nor `ignore` is needed. Source: compressed-tensors 0.20, `config/base.py` and `compressors/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.checkpoint import LazyTensor
from edgelm_converters.sources.packings.compressed_tensors.integers import present_int8, present_packed
from edgelm_converters.sources.packings.float8.fp4 import BYTES, is_fp4, is_fp6, present_fp4, present_fp6
from edgelm_converters.sources.packings.float8.fp8 import (
    describe,
    is_float8,
    leave_out_activations,
    present_float8,
)
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented

_PARTS = (
    "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_global_scale",
)  # fmt: skip
_SPARSE = ("sparse-bitmask", "sparse-24-bitmask", "marlin-24")
_OFFLINE = ("weight_input", "weight_output")


class CompressedTensorsFormat:
    """See the module."""

    name = "compressed-tensors"

    def recognise(self, source: PackedSource) -> bool:
        """Tell whether this packing is there, as `PackedFormat` has it."""
        said = source.method
        if said and said != self.name:
            return False
        marks = (
            (".weight_packed", ".compressed", ".scale_packed")
            if not said
            else (".weight_packed", ".weight_scale", ".compressed")
        )
        return any(name.endswith(marks) for name in source.tensors) or (
            said == self.name and any(is_float8(tensor) for tensor in source.tensors.values())
        )

    def present(self, source: PackedSource, result: Presented) -> None:
        """Present every packed module, as `PackedFormat` has it."""
        _refuse_unread(source)
        widths = set(_widths(source.settings))
        for path, parts in source.of_modules("weight_packed", "weight_scale").items():
            if not path:
                raise source.refuse("the model itself", "belong to no module")
            result.used.update(f"{path}.{part}" for part in _PARTS if part in parts)
            _present(path, parts, widths, source, result)
        for name, tensor in source.tensors.items():
            if is_float8(tensor) and name not in result.used and len(tensor.shape) > 1:
                present_float8(name, source, result)
        leave_out_activations(source, result)
        describe(self.name, source, result)


def _present(
    path: str, parts: Mapping[str, LazyTensor], widths: set[int], source: PackedSource, result: Presented
) -> None:
    packed, weight, scale = parts.get("weight_packed"), parts.get("weight"), parts.get("weight_scale")
    if packed is not None and scale is not None and packed.stored_as in BYTES:
        names = (f"{path}.weight", f"{path}.weight_packed", f"{path}.weight_scale")
        if is_fp4(packed, scale):
            whole = (f"{path}.weight_global_scale", True) if "weight_global_scale" in parts else None
            present_fp4(*names, whole, source, result)
        elif is_fp6(packed, scale):
            present_fp6(*names, source, result)
        else:
            raise source.refuse(path, f"do not fit: codes {packed.shape}, scales {scale.shape}")
    elif packed is not None:
        if packed.stored_as not in ("I32", "torch.int32") or len(packed.shape) < 2:
            raise source.refuse(path, f"have codes of {packed.stored_as} and shape {packed.shape}")
        present_packed(path, parts, widths, source, result)
    elif weight is not None and is_float8(weight):
        present_float8(f"{path}.weight", source, result)
    elif weight is not None and weight.stored_as in ("I8", "torch.int8") and len(weight.shape) > 1:
        result.used.add(f"{path}.weight")
        present_int8(path, parts, source, result)
    # Else the weight is a float, quantized in name alone ("dense"): it is passed on, its scale is not.


def _widths(settings: Mapping[str, Any]) -> list[int]:
    """The widths of all groups."""
    groups = settings.get("config_groups")
    weights = [
        group.get("weights")
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict)
    ]
    bits = [one.get("num_bits") for one in weights if isinstance(one, dict)]
    return [width for width in bits if type(width) is int]


def _refuse_unread(source: PackedSource) -> None:
    sparsity = source.settings.get("sparsity_config")
    formats = [source.settings.get("format"), sparsity.get("format") if isinstance(sparsity, dict) else None]
    sparse = next((each for each in formats if each in _SPARSE), None)
    if sparse is None and any(name.endswith((".bitmask", ".scale_packed")) for name in source.tensors):
        sparse = "sparse"
    if sparse is not None:
        raise UnsupportedError(
            f"{source.where} is packed as compressed-tensors ({sparse}), whose zeros are left out, which edgelm does not read",
            hint="look for a release of the same model in bfloat16, or one without sparsity",
        )
    for place in _online(source.settings.get("transform_config")):
        raise UnsupportedError(
            f"{source.where} is packed as compressed-tensors with a rotation of activations ({place}),"
            " which no network of MLX makes",
            hint="look for a release of the same model in bfloat16, or one without transforms",
        )


def _online(said: Any) -> list[str]:
    """List where transforms act that are not in the weights already."""
    schemes = said.get("config_groups") if isinstance(said, dict) else None
    uses = [
        use
        for scheme in (schemes.values() if isinstance(schemes, dict) else ())
        if isinstance(scheme, dict) and isinstance(scheme.get("apply"), list)
        for use in scheme["apply"]
        if isinstance(use, dict)
    ]
    return [str(use.get("location")) for use in uses if use.get("location") not in _OFFLINE]
