"""What a reply may look like: which tokens may come next, by a JSON Schema, a regex or a grammar."""
