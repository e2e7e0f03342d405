"""Installed models, the Hub, and jobs."""
