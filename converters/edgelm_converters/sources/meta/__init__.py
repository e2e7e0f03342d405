"""Meta's own releases of Llama: `params.json`, `consolidated.*.pth` and a `tokenizer.model`.

checkpoint.py  open_meta: the checkpoint in such a directory
layout.py      Meta's tensor names and the ones transformers publishes
params.py      params.json → a transformers config.json
"""
