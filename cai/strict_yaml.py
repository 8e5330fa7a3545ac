"""One strict way to read YAML: safe, bounded, and with the place of every value kept for later errors."""
