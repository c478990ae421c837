"""Restore: a point becomes a machine, a file, an export or a device's content."""
