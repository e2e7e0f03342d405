"""NVIDIA ModelOpt: FP8 with a scale for the tensor, a row or a block, NVFP4 with two scales, and mixtures of them.

Names: `weight`, `weight_scale`, `weight_scale_2` beside `input_scale`; experts in one tensor have `gate_up_proj_weight_scale`.
Source: nvidia-modelopt, `torch/export/quant_utils.py`; its settings lie in `hf_quant_config.json` or in the config.
"""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.packings.float8.fp4 import BYTES, is_fp4, present_fp4
from edgelm_converters.sources.packings.float8.fp8 import (
    describe,
    is_float8,
    leave_out_activations,
    present_float8,
)
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented


class ModelOptFormat:
    """See the module."""

    name = "ModelOpt"

    def recognise(self, source: PackedSource) -> bool:
        """Tell whether this packing is there, as `PackedFormat` has it."""
        if source.method:
            return source.method.startswith("modelopt") and any(
                is_float8(tensor) or tensor.stored_as in BYTES for tensor in source.tensors.values()
            )
        return any(name.endswith("weight_scale_2") for name in source.tensors)

    def present(self, source: PackedSource, result: Presented) -> None:
        """Present every packed module, as `PackedFormat` has it."""
        for name, tensor in source.tensors.items():
            if len(tensor.shape) < 2 or name.endswith(("_scale", "_scale_2")):
                continue
            stem = name if name.endswith("weight") else f"{name}_weight"
            scale = source.tensors.get(f"{stem}_scale")
            if is_float8(tensor):
                present_float8(name, source, result)
            elif tensor.stored_as in BYTES and scale is not None and is_fp4(tensor, scale):
                whole = f"{stem}_scale_2"
                over = (whole, False) if whole in source.tensors else None
                present_fp4(name, name, f"{stem}_scale", over, source, result)
            elif tensor.stored_as in BYTES:
                raise UnsupportedError(
                    f"{source.where} is packed by ModelOpt in a form that edgelm does not read"
                    f" ({name} is {tensor.stored_as} of shape {tensor.shape})",
                    hint="look for a release of the same model in bfloat16, FP8 or NVFP4",
                )
            if name in result.used and f"{stem}_scale" in source.tensors:
                result.used.add(f"{stem}_scale")
            if name in result.used and f"{stem}_scale_2" in source.tensors:
                result.used.add(f"{stem}_scale_2")
        leave_out_activations(source, result)
        describe(self.name, source, result)
