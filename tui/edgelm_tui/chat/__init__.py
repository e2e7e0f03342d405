"""The conversation and what it is made of."""
