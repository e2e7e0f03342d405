"""Sources of weights: each room opens one kind and presents it as a `Checkpoint`.

checkpoint.py   what all of them give: a config, named lazy tensors and a tokenizer
recognise.py    a path, package or Hub id → its checkpoint, told by content
huggingface/    safetensors directories
pytorch/        `.bin` and `.pth` files, without torch
meta/           Meta's releases
gguf/           llama.cpp's files
"""
