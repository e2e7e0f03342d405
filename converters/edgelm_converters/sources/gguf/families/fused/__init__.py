"""Networks whose queries, keys and values come of one matrix: GPT-2 and what followed it, and some of today."""
