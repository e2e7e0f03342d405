"""Where checkpoints come from, recognised by content."""
