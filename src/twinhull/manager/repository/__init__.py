"""The repository that a manager works with, and what it does to it."""
