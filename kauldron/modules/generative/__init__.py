"""Generative models: variational autoencoder, diffusion, flow matching, samplers."""
