"""The public data sets of the field: which there are, how they lie on disk, and finding them."""
