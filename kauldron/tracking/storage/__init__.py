"""Where files of runs are kept: a folder, or any URL that fsspec knows."""
