"""Which adapters act on which row of a call of the network: variants of rows, and the modules that heed them."""
