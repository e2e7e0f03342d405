"""The app's screens, each in a room of its own."""
