"""PyTorch checkpoints (`.bin`, `.pth`), read without torch and without running anything they carry.

opcodes          bytes → pickle opcodes, each within bounds
unpickle         opcodes → plain values, through a table of names that stand for tensors
tensors          the table: storages, dtypes and the functions that rebuild tensors
zip_directory    where the members of a zip archive lie
archive          a `torch.save` file of either format → values, and where its storages lie
state_dict       values → named lazy tensors
checkpoint       a Hugging Face directory of such files
"""
