"""The repository, put to the test."""
