"""How requests share the steps of one network: which may, on what caches, and how their tokens are drawn."""
