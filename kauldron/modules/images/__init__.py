"""Convolutional blocks and models of images, in 1, 2 and 3 dimensions."""
