"""The screens of the app, one entry each: of this list tabs, keys, help and palette are made."""

from edgelm_tui.services.screen_entry import ScreenEntry

SCREENS = (
    ScreenEntry(
        "chat", "Chat", "edgelm_tui.screens.chat.screen:ChatScreen", "Go to the chat",
        {
            "prompt": "Prompt",
            "message": "On a message (Shift+Tab reaches the last one)",
            "sessions": "List of chats",
        },
    ),
    ScreenEntry(
        "library", "Library", "edgelm_tui.screens.library.screen:LibraryScreen", "Go to the library", {"job": "Jobs"}
    ),
    ScreenEntry("tune", "Tune", "edgelm_tui.screens.tune.screen:TuneScreen", "Go to the training runs"),
)  # fmt: skip
"""In the order of their tabs; the first is shown at the start, and F2 goes there, F3 to the next."""
