"""Transforms of examples and of batches; offered as `kd.data.Resize`, and so on."""
