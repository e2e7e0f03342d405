"""transformers as an independent judge of a conversion: its own reading of the source, in a process of its own."""
