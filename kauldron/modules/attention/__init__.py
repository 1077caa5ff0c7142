"""One attention function, and the protocol of KV caches."""
