"""What a run leaves in its workdir, read without JAX."""
