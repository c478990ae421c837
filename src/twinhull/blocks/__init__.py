"""Bytes in motion: every disk, wherever it is, is something that opens as NBD."""
