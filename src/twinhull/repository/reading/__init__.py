"""From ids to bytes: the index, chunks in their packs, and disks of points."""
