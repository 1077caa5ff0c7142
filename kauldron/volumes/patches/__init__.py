"""Parts of volumes: grids, sliding windows, blending."""
