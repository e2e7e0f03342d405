"""The chat loop: its lines, its commands, the model it talks to, and what it writes down."""
