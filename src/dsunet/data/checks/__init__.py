"""Looking for trouble in data: each file, and pictures that are nearly alike."""
