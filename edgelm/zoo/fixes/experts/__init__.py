"""Experts: which layers have them, which of them answer, and with what weight."""
