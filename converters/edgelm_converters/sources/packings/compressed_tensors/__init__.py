"""compressed-tensors (llm-compressor, Neural Magic, Red Hat AI): integers and floats, packed or not, mixed in one model."""
