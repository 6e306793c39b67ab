"""Weights: files in the formats found in the wild, and the networks that they fill."""
