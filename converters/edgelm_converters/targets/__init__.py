"""Formats that a conversion can write."""
