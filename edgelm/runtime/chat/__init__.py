"""A conversation: messages in, text out, functions run between, and its file."""
