"""placeholder"""

from edgelm_tui.arena import ArenaScreen


class LibraryScreen(ArenaScreen):
    """placeholder"""

    MODE = "library"
