"""Which weight files make a model, what lies in them, how they are packed, and a network filled from them."""
