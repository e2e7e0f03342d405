"""Many prompts through one network at once. The engine answers one; this answers the rest beside it."""
