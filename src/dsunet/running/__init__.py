"""What runs a model: device and precision, one training step, one loader, logits to map."""
