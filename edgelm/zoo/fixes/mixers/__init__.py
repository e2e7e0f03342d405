"""What mixes positions other than by plain attention: Mamba-2 and its norms, sparse attention."""
