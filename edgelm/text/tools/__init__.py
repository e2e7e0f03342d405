"""Functions that a model may call: described to it, called for it, their results as text. Runs no model."""
