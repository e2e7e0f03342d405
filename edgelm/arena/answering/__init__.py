"""The answers of an arena: what each is made from, and made ahead, batched, each once."""
