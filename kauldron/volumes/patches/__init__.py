"""Patches of volumes: grids, random patches, sliding windows."""
