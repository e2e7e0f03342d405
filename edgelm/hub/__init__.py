"""The Hugging Face Hub: what ids mean, which files of a repository are needed, and their bytes into the shared cache."""
