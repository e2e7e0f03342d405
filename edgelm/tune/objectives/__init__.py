"""What a network is trained for: losses that see it only through the log-probabilities of target tokens."""
