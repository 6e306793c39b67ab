"""What goes beyond training and predicting: the paper's experiments, and pruning."""
