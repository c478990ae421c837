"""From bytes to a published point: chunks, packs, and the trees of disks."""
