"""Sparse autoencoders: load, train, judge."""
