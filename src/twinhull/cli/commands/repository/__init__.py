"""``twinhull repository``."""
