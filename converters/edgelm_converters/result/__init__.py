"""The result of a conversion: its name, what stands in its place already, and what it lost."""
