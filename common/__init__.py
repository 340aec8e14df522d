"""Ground floor: errors, files, JSON, caches, progress, version."""
