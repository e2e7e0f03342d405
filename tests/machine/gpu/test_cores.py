"""The line of `ioreg` that tells two versions of a chip apart."""

from __future__ import annotations

from edgelm.machine.gpu.cores import parse_gpu_cores

SAID = """+-o AGXAcceleratorG15X  <class AGXAcceleratorG15X, id 0x1000004b6, registered, matched, active, busy 0>
    {
      "model" = "Apple M3 Max"
      "gpu-core-count" = 40
      "MetalPluginName" = "AGXMetalG15X_C0"
    }
"""


def test_cores_are_read() -> None:
    assert parse_gpu_cores(SAID) == 40


def test_silence_is_not_a_number() -> None:
    assert parse_gpu_cores("") is None
    assert parse_gpu_cores('"model" = "Apple M3 Max"') is None
