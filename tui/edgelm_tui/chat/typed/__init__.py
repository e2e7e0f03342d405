"""What a user types: names of files, mentions of them, what a word may become, an editor of their own."""
