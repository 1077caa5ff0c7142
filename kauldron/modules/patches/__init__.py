"""Patches inside of a model: tilings, blend windows, `PatchWise`."""
