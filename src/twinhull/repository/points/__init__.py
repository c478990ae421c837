"""The points of a repository: listed, published, held, and how long they stay."""
