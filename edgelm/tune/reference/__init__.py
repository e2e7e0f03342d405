"""Log-probabilities under the model as it was before it is trained: computed once, kept with the run."""
