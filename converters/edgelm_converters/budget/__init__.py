"""What a budget may spend on beside widths that it chooses itself."""
