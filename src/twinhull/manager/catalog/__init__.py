"""What the manager remembers between commands, and where: records, their tables, the state directory, locks."""
