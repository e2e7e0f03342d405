"""What `/metrics` tells, in the text format of Prometheus, by its own client library."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from edgelm.runtime.events import Usage

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"edgelm_{name}", text, labels, registry=self._registry)

        self._requests = counter("requests", "Requests by path and status", "path", "status")
        self._prompt = counter("prompt_tokens", "Tokens of prompts")
        self._cached = counter("cached_prompt_tokens", "Of these, tokens that had been computed before")
        self._completion = counter("completion_tokens", "Tokens of answers")
        self._gone = counter("disconnects", "Replies whose asker went before their end")
        self.under_way = Gauge(
            "edgelm_replies_under_way", "Replies under way and waiting", registry=self._registry
        )
        self.loaded = Gauge("edgelm_models_loaded", "Models in memory", registry=self._registry)
        self.stalled = Gauge(
            "edgelm_stalled_seconds",
            "Since a step of a model that has work last ended; 0 without work",
            registry=self._registry,
        )
        self._first = Histogram(
            "edgelm_first_token_seconds",
            "From a request to its first token",
            buckets=_SECONDS,
            registry=self._registry,
        )

    def answered(self, path: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()

    def replied(self, usage: Usage) -> None:
        """Count what a reply took."""
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._completion.inc(usage.completion_tokens)
        self._first.observe(usage.first_token_s)

    def left(self) -> None:
        """Count a reply that nobody waits for any more."""
        self._gone.inc()

    def text(self) -> bytes:
        """Return everything in the text format, version 0.0.4."""
        return generate_latest(self._registry)
