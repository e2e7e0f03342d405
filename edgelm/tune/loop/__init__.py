"""A run from its request to its adapter: steps, validations, checkpoints and pauses."""
