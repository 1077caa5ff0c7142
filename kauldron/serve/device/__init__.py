"""Device programs: sampling, the pool of pages, prefill and decoding."""
