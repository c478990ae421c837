"""The loop that keeps every plan within its RPO: look, decide, do, tell."""
