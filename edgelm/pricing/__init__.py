"""What a model takes of a machine: bytes of weights and cache, whether it fits, and how much is computed at once."""
