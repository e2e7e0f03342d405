"""Reward models at work: a trained one is loaded and scores answers, as a reward among others."""
