"""Speculation: guesses at the next tokens, checked several at once, and off where that does not pay.

Lossless where a wide step computes each position as a narrow one does: on MLX's CPU backend; nearly so on
Metal, see `width.py`.
"""
