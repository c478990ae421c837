"""Looking into a machine's disk, read-only, without mounting anything: will it come up on the other platform?

In reading order: ``partitions`` (where file systems are), ``filesystem`` (files of an ext file system on any disk),
``findings`` (what stands in the way, each with what to do). Everything read is bounded; nothing is written.
"""

from twinhull.platforms.inspection.findings import Finding, inspect_disk

__all__ = ["Finding", "inspect_disk"]
