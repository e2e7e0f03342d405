"""Names of the types that matrices can be exported as, for `--help`; `targets.gguf.choice` has what they stand for."""

from __future__ import annotations

CHOICES = ("auto", "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl")
