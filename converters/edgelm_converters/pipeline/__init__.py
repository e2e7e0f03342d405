"""The steps of a conversion before its weights are written."""
