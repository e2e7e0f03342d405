"""A receipt as a quantization would leave it."""

from __future__ import annotations

from edgelm.evaluate.receipt import LayerLoss, QualityReceipt
from edgelm.evaluate.scores import Estimate

RECEIPT = QualityReceipt(
    method="best",
    bits_per_weight=4.52,
    size_bytes=93_000_000,
    text="shipped held-out text",
    tokens=8160,
    rows=32,
    mean_kl=Estimate(0.0543, 0.0021),
    p99_kl=Estimate(0.61, 0.04),
    top1_agreement=Estimate(0.875, 0.006),
    perplexity=Estimate(17.8, 0.6),
    source_perplexity=Estimate(16.9, 0.55),
    kl_by_domain={"prose": Estimate(0.05, 0.003), "code": Estimate(0.06, 0.004)},
    rounded_kl=Estimate(0.369, 0.012),
    calibration={"source": "shipped", "tokens": 24_576, "seed": 0},
    layers=(
        LayerLoss("model.embed_tokens", 6, 64, method="search", weights=1000),
        LayerLoss(
            "model.layers.0.self_attn.q_proj", 4, 64, method="gptq", relative_error=0.01, tokens=24_576
        ),
        LayerLoss("model.layers.0.mlp.down_proj", 3, 64, method="gptq", relative_error=0.05, tokens=24_576),
        LayerLoss("model.layers.1.mlp.down_proj", 4, 64, method="gptq", relative_error=0.002, tokens=24_576),
    ),
    elapsed_s=181.0,
    peak_memory_bytes=910_000_000,
)
