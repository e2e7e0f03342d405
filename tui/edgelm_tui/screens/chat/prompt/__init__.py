"""Where the user writes: the prompt, what its words may become, an editor, what waits above it."""
