"""The terminal app: screens and widgets over one engine client. Imports MLX only on the client's thread."""
