"""What a run will need in memory and time, before anything is loaded."""
