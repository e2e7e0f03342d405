"""Hybrids: recurrent layers (state spaces, linear attention, short convolutions) among or beside attention."""
