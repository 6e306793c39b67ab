"""Maps that never change, computed once and kept on disk: one store, for DINOv2 and teachers."""
