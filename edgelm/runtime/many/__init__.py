"""Many requests at once, as clients of the scheduler: prompts to results, requests to groups of answers."""
