"""Removing, renaming and copying what is in the library, with what refers to it."""
