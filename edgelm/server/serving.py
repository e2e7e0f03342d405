"""What endpoints share: the models, the places for replies, the counts, the watchdog."""

from __future__ import annotations

from dataclasses import dataclass

from edgelm.server.metrics import ServerMetrics
from edgelm.server.replies import Admission
from edgelm.server.residents import Residents
from edgelm.server.stalls import StallWatch


@dataclass(frozen=True)
class Serving:
    """The state of one server; `app.state.serving` of its application."""

    residents: Residents
    admission: Admission
    metrics: ServerMetrics
    stalls: StallWatch
