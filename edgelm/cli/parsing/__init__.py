"""How a command line is read: the parser, its errors of one line, and settings named by their flags."""
