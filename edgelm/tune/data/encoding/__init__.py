"""From rows as they were written to token ids, with the tokens that are trained."""
