"""Long work in child processes: downloads, conversions, training."""
