"""JSON Schemas made into what the grammar compiler enforces exactly, or refused by name."""
