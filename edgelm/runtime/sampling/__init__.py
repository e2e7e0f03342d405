"""How the next token is chosen: the settings, and the samplers made of them."""
