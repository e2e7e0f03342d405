"""Families whose layers are all alike: attention and one feed-forward block."""
