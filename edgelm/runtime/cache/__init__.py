"""KV caches: which kind a network gets, what of them is kept between requests, in memory and on the disk."""
