"""Ground floor: errors, files, caches, progress, version."""
