"""What macOS says when it ends work on the GPU, and what is said instead."""

from __future__ import annotations

import pytest

from edgelm.errors import EngineError
from edgelm.machine.gpu.watchdog import is_watchdog, watchdog_error
from edgelm.machine.long_job import long_job

# As MLX prints them (mlx #3267 and reports of the same error); the codes are those of IOGPUCommandBufferCallbackError.
SAID = [
    "[METAL] Command buffer execution failed: Impacting Interactivity"
    " (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)",
    "[METAL] Command buffer execution failed: Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)",
    "[METAL] Command buffer execution failed: Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)",
    "[METAL] Command buffer execution failed: Ignored (for causing prior/excessive GPU errors)"
    " (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
    "[METAL] Command buffer execution failed: Discarded (victim of GPU error/recovery)"
    " (00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)",
]
OUT_OF_MEMORY = (
    "[METAL] Command buffer execution failed: Insufficient Memory"
    " (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)


@pytest.mark.parametrize("text", SAID)
def test_it_is_recognised_and_says_what_to_do(text: str) -> None:
    error = watchdog_error(RuntimeError(text), "training")
    assert error is not None
    assert error.message == f"the GPU's watchdog ended training: {text}"
    for way in ("display sleep", "--batch-tokens", "AGX_RELAX_CDM_CTXSTORE_TIMEOUT=1"):
        assert way in (error.hint or "")


@pytest.mark.parametrize("text", [OUT_OF_MEMORY, "[matmul] shapes do not match", "the read timed out", ""])
def test_other_errors_are_not_taken_for_it(text: str) -> None:
    assert not is_watchdog(text)
    assert watchdog_error(RuntimeError(text), "training") is None


def test_the_end_of_a_log_names_the_line() -> None:
    log = f"step 12\nlibc++abi: terminating due to uncaught exception of type std::runtime_error: {SAID[0]}\nAbort trap: 6"
    error = watchdog_error(log, "training")
    assert error is not None
    assert "\n" not in error.message
    assert "Impacting Interactivity" in error.message


def test_a_long_job_translates_it_and_nothing_else() -> None:
    with pytest.raises(EngineError, match="watchdog ended the conversion"), long_job("the conversion", "x"):
        raise RuntimeError(SAID[0])
    with pytest.raises(RuntimeError, match="something else"), long_job("the conversion", "x"):
        raise RuntimeError("something else")
