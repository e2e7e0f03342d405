"""A source's weights while they are used: read one at a time, unpacked, and dropped after use."""
