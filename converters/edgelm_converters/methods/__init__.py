"""How codes and widths are chosen: quantization methods, budgets and distillation.

    method.py            the protocol of a quantization method
    registry.py          every method by the name that `--quality` takes: one line each
    rtn.py  fast.py      methods that look at one tensor alone (`quantizers.py`)
    good.py  best.py     methods that run calibration text through the layers (`calibration/`)
    task.py              what a conversion asks of a method; quantized.py what it gets back
    calibration_text.py  rows of token ids to calibrate on
    layer_files.py       finished layers on disk, so that a killed run goes on
    distill.py           training scales and norms after calibration
    budget/              a number of bytes into a width for every tensor

A new method is a module here and a line in the registry. Methods' own modules import MLX only when they run, so that
`--help` can name them.
"""
