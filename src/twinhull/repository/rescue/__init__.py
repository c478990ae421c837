"""Second copies, and bringing back what is damaged."""
