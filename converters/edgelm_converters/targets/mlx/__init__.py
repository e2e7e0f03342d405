"""A standard MLX-LM directory.

plan.py          every tensor of the result, from shapes alone
shard.py         one safetensors file, written one tensor at a time
weights.py       the weight files of a plan
config_files.py  config.json and generation_config.json
"""
