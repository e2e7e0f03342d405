"""Which match is asked about next, and who stands where: plain values and seeds, no store."""
