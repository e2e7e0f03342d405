"""What endpoints share: the models, the places for replies, the counts."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.server.metrics import ServerMetrics
from edgelm.server.replies import Admission
from edgelm.server.residents import Residents


@dataclass(frozen=True)
class Serving:
    """The state of one server; `app.state.serving` of its application."""

    residents: Residents
    admission: Admission
    metrics: ServerMetrics
