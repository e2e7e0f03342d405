"""The collector comes back as it was."""

from __future__ import annotations

import gc

import pytest

from edgelm.machine.garbage import uncollected


def test_the_collector_comes_back_also_after_a_failure() -> None:
    with pytest.raises(KeyError), uncollected():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
