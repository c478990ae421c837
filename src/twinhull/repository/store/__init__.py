"""Where a repository lives: objects with flat names, immutable once created."""
