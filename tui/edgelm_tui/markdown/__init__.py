"""Markdown for a text that grows: cut into blocks, each laid out once as lines of Textual content."""
