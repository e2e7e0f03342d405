"""The line to the model: one thread, plain events."""
