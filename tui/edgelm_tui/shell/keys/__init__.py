"""The keys of the app: their names, what each does, and the line that shows them."""
