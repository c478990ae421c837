"""Restore points on storage: deduplicated, encrypted, complete in themselves. The format: docs/repository-format.md.

The doors of this room (import them from here; the modules below are its own business)::

    store = open_store("/var/lib/twinhull/repository")              # or file:///…
    repository = Repository.create(store, passphrase)               # Repository.open(store, passphrase)

    with repository.writer() as writer:                             # nothing is visible before publish
        disk = writer.disk(size_bytes, base=None | DiskRoot)        # starts as the base is (or zeros)
        disk.write(offset_bytes, data)                              # chunk-aligned; only the disk's last may be short
        disk.zero(offset_bytes, length_bytes)                       # chunk-aligned, as write
        root = disk.finish()                                        # DiskRoot
        point = writer.publish(PointDocument(...))                  # durable and whole, or an error and nothing
        writer.stats                                                # WriterStats: what was seen, new, stored

    repository.points(machine_id)   repository.point(point_id)      # in order of sequence
    repository.diff(old, new)                                       # Extents: where new differs from old
    reader = repository.reader()
    reader.read(root, offset_bytes, length_bytes)                   # bytes
    reader.extents(root, offset_bytes, length_bytes)                # Extents: data and zero
    reader.chunk_ids(root, offset_bytes, length_bytes)              # id (None: zeros) of each chunk
    repository.chunk_id(data)                                       # the same for a piece of any disk: compare
    repository.remove_point(point_id)   repository.restore_point(point_id)   repository.removed_points()
    repository.verify(has_data=True)
    repository.close()                                              # or use it as a context manager

All of it may be used from several threads, one ``DiskWriter`` by one thread.
"""
