"""Where a conversion goes, and what is there already."""
