"""Lossless speculation: guesses at the next tokens, checked several at once, and off where that does not pay."""
