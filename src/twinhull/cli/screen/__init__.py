"""What is printed: tables, documents, progress, and foreign text made harmless."""
