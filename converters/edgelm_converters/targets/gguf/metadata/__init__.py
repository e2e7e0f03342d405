"""What a GGUF file says beside its tensors.

keys.py      settings of a config under llama.cpp's keys
special.py   what single families say otherwise
factors.py   rope scaling: keys, and tensors of factors
described.py name, licence, lineage, sampling
agreement.py what the file says, read back as edgelm reads files, against the config
"""
