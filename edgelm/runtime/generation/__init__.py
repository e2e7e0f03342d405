"""The way from token ids to text: the settings of a reply, the reply itself, and what writes it."""
