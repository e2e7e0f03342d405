"""Families of models in GGUF files, as data: what llama.cpp calls each tensor, and what it did to its values.

    lengths.py   named lengths ("hidden", "q", "experts") of each layer, from metadata
    rows.py      orders of rows, two-way: permuted heads, interleaved halves
    values.py    changes of values, two-way: shifted norms, swapped axes
    rule.py      one rule of a table: stored tensors ↔ the network's tensors
    family.py    a family: names, tables, config
    common.py    tables that many families share
    settings.py  what a config has in common; helpers for the rest
    ollama.py    what Ollama's own converter writes otherwise; towers beside the text model
    registry.py  all families by the name of their architecture
    dense/, experts/, …   the families

Every rule goes both ways, since files are read now and are to be written later. Sources, all of llama.cpp:
gguf-py/gguf/tensor_mapping.py (names), conversion/*.py (`modify_tensors`: values; `set_gguf_parameters`: metadata) and
src/models/*.cpp (`load_arch_hparams`: what is in the code and not in the file).
"""
