"""From files of examples to rows of token ids that say which of them are trained."""
