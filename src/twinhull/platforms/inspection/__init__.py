"""Looking into a machine's disk, read-only, without mounting anything: will it come up on the other platform?

In reading order: ``partitions`` (where file systems are), ``filesystem`` (files of an ext file system on any disk),
``findings`` (what stands in the way, each with what to do), ``machine``
(opening the disk on its site). Everything read is bounded; nothing is written.
"""

from twinhull.platforms.inspection.findings import Finding, inspect_disk
from twinhull.platforms.inspection.machine import inspect_machine

__all__ = ["Finding", "inspect_disk", "inspect_machine"]
