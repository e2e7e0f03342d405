"""Hugging Face directories with safetensors, and the tokenizer files beside weights of any kind."""
