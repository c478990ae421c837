"""``twinhull points``."""
