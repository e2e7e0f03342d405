"""Gemma 3n's tower for pictures is one of timm's, which need not be installed."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.timm_wrapper.modeling_timm_wrapper import TimmWrapperModel


def stand_in_for_timm() -> None:
    """One matrix stands for the tower, in this process."""

    def stand_in(self: Any, config: Any) -> None:
        super(TimmWrapperModel, self).__init__(config)
        self.timm_model = torch.nn.Linear(2, 2)
        self.post_init()

    TimmWrapperModel.__init__ = stand_in
