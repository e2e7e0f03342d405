"""Answers that the network itself gives while it is trained: sampled by groups, judged by rewards, kept with the run."""
