"""One update of the weights: the loss of a batch, its gradient, and the optimizer."""
