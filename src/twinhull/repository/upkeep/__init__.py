"""Giving back space, and finding damage."""
