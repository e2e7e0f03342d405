"""placeholder"""

from edgelm_tui.arena import ArenaScreen


class TuneScreen(ArenaScreen):
    """placeholder"""

    MODE = "tune"
