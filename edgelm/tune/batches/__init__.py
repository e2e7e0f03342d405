"""Which rows go side by side, and the arrays they become."""
