"""The dialogs: their frame, small questions, help and a slider for forms."""
