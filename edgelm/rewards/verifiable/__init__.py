"""Rewards that anybody can check again: the right answer, a form, a length, tests."""
