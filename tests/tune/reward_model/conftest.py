"""A base and a reward model of it."""

from __future__ import annotations

from typing import Any

import pytest
from checkpoints import write_checkpoint
from tuning import request, run, write_pairs


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home with the reward model `judge`, of a base beside it."""
    place = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGELM_HOME", str(place / "home"))
        write_checkpoint(place / "model", num_hidden_layers=2)
        data = write_pairs(place / "pairs.jsonl")
        run(request(place / "model", data, name="judge", loss="reward", dropout=0.0, steps=8))
        yield place
