"""What lies in a repository, byte for byte: exactly what docs/repository-format.md describes."""
