"""PyTorch checkpoints (`.bin`, `.pth`), read without torch and without running anything they carry.

opcodes          bytes → pickle opcodes, each within bounds
unpickle         opcodes → plain values, through a table of names that stand for tensors
tensors          the table: storages, dtypes and the functions that rebuild tensors
zip_directory    where the members of a zip archive lie
archive          a `torch.save` file of either format → values, and where its storages lie
state_dict       values → named lazy tensors
checkpoint       a Hugging Face directory of such files
meta             Meta's LLaMA layout of such files (meta_params, meta_layout: its numbers and its names)
"""

from edgelm_converters.pytorch.checkpoint import open_pytorch
from edgelm_converters.pytorch.meta import open_meta

__all__ = ["open_meta", "open_pytorch"]
