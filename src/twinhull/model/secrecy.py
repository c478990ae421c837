"""Keeping what is in this process's memory out of core dumps and away from other processes of the same user.

Keys and passphrases are there. Sources: setrlimit(2), RLIMIT_CORE; prctl(2), PR_SET_DUMPABLE (4 in linux/prctl.h). A
process that is not dumpable cannot be traced, nor its memory read through /proc, by processes of its own user.
"""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """Write no core dump, and let no other process of this user look into this one. Children begin anew by exec."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
