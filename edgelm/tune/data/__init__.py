"""Training data: files of examples become rows of token ids that say which of them are trained."""
