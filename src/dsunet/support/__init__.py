"""Files, processes, imports, tables: knows nothing of images or networks."""
