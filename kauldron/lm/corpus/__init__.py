"""Token data: sources, transforms, packing, shards on disk."""
