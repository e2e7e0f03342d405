"""Rows as they were written become token ids, with the tokens that are trained."""
