"""``twinhull plan``."""
