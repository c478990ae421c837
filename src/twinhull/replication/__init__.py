"""Capture (site to restore point) and replica (restore point to the other site)."""
