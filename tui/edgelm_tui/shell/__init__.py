"""What every screen has: tabs above, a status line below, help, settings and the palette."""
