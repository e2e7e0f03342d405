"""Adapters that score answers instead of writing them: a scalar head beside the adapter's own files."""
