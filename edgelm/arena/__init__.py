"""Which model answers better, by blind votes: matches, and what votes say of contestants."""
