"""AutoRound: its own name over GPTQ's and AWQ's packings.

`packing_format` says which: `auto_round:auto_awq` is AWQ's gemm layout, `auto_round:auto_gptq` GPTQ's version 1,
`auto_round` and `auto_round:gptqmodel` its version 2 (zero points as they are), all in 2 to 8 bits. `extra_config`
gives single layers other widths and groups, which follow from the shapes. Releases before 0.5 say it in `backend`. Its
exports under other names (`gptq`, `awq`, `compressed-tensors`) are read as those.
Source: AutoRound 0.16 `export/export_to_autoround/export.py`, `inference/backend.py` (`GPTQ_FORMAT`, `GPTQ_FORMAT_NO_ZP`).
"""

from __future__ import annotations

from edgelm.errors import UnsupportedError
from edgelm_converters.sources.packings.packed_format import PackedSource, Presented
from edgelm_converters.sources.packings.uniform.awq import present_gemm
from edgelm_converters.sources.packings.uniform.describe import describe
from edgelm_converters.sources.packings.uniform.gptq import present_gptq
from edgelm_converters.sources.packings.uniform.module_parts import ModuleParts


class AutoRound:
    """Published by Intel's AutoRound."""

    name = "AutoRound"

    def recognise(self, source: PackedSource) -> bool:
        """Tell from settings and names of tensors whether the checkpoint is in this format."""
        return "auto-round" in source.method and bool(source.of_modules("qweight"))

    def present(self, source: PackedSource, result: Presented) -> None:
        """Put every module of the format into `result`; see `PackedFormat`."""
        packing = _packing(source)
        if source.settings.get("rotation_config"):
            raise UnsupportedError(
                f"{source.where} is packed by AutoRound with rotated inputs (rotation_config), which edgelm does not read",
                hint="look for a release of the same model without rotation, in bfloat16 or as GGUF",
            )
        for path, tensors in source.of_modules("qweight").items():
            parts = ModuleParts(source, path, tensors)
            if packing == "awq":
                present_gemm(parts, result)
            else:
                present_gptq(parts, result, 1 if packing == "gptq" else 2)
        describe(self.name, result)


def _packing(source: PackedSource) -> str:
    """Return "awq", "gptq" (zero points less by one) or "auto_round" (as they are)."""
    settings = source.settings
    said = str(settings.get("packing_format") or settings.get("backend") or "").lower()
    if not said.startswith("auto_round"):
        said = "auto_round:auto_gptq"
    if "awq" in said:
        return "awq"
    return "gptq" if "gptq" in said and "gptqmodel" not in said else "auto_round"
