"""The GPU of a Mac: the chip it is part of, its cores, and the watchdog that ends what computes too long."""
