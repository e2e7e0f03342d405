"""The one place that names edgelm's version."""

__version__ = "0.1.0"
