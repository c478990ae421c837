"""Disks of points as read-only NBD exports."""
