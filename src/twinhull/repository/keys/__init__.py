"""Who can open a repository: its configuration, passphrases, and the objects that wrap its keys."""
