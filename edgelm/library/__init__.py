"""What is installed on this machine: models by name, where they came from, and what was built on what."""
