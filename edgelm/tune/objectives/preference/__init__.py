"""Losses of preferences: of two answers to a prompt which is better, or of one whether it is good."""
