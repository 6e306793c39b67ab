"""Millions of images on a Ray cluster: parts of a plan go to actors, rows come into a manifest."""
