"""Models written for others: GGUF for llama.cpp, transformers' layout for everything that reads Hugging Face's.

source.py    a model as its network has it, tensors not read
names.py     the network's tensors under the names that GGUF's tables know
gguf.py      `export_gguf`
adapter.py   `export_gguf_adapter`
huggingface.py `export_huggingface`
report.py    what was written, and what was lost on the way
"""
