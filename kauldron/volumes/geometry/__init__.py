"""Where voxels are: matrix and origin, regions."""
