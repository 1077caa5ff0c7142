"""Models that generate: variational, diffusion and flow."""
