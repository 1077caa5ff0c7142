"""Transforms of examples and of batches, exported as `kd.data.Resize` and so on."""
