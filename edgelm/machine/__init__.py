"""What the operating system offers long jobs, and what its tools say: power, clocks, limits, locks, the GPU's watchdog.

Knows no models and imports no MLX.
"""
