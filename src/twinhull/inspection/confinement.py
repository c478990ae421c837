"""How a process gives up all that it does not need, before it reads the first byte of a guest.

It keeps its memory and three open pipes. What must hold is a filter of system calls (:mod:`.seccomp`), limits on memory
and processor time, and no privileges; where the kernel permits it, the process also has namespaces of its own, with no
network and an empty root directory. All modules must be loaded before: no file can be opened afterwards.
"""

from __future__ import annotations

import ctypes
import os
import resource
from dataclasses import dataclass

from twinhull.inspection.seccomp import allow_only_computing, control

NOBODY = 65534

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 16384, 1 << 18
"""sched.h and sys/mount.h."""

_EMPTY_ROOT = b"/tmp"
_CAPABILITY_VERSION_3 = 0x20080522
_SET_DUMPABLE = 4
"""Without it no other process of the same user reads the guest's data in its memory (prctl(2))."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What a child may use at most."""

    memory_bytes: int
    cpu_seconds: int


def confine(limits: ChildLimits) -> None:
    """Give up privileges, files, network, new processes and further system calls; raises OSError if that fails."""
    os.chdir("/")
    os.closerange(3, 1 << 16)
    _drop_user()
    _enter_namespaces()
    _limit(limits)
    control(_SET_DUMPABLE, 0)
    allow_only_computing()


def _drop_user() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _enter_namespaces() -> None:
    """One more wall where there can be one: many containers and hardened kernels permit no namespaces."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_USER | _NEW_NETWORK | _NEW_MOUNTS | _NEW_IPC):
        return
    flags = _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_EXEC
    is_private = not library.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None)
    if is_private and not library.mount(b"none", _EMPTY_ROOT, b"tmpfs", flags, b"size=4k,mode=0555"):
        os.chroot(_EMPTY_ROOT)
        os.chdir("/")
    _drop_capabilities(library)


def _drop_capabilities(library: ctypes.CDLL) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if library.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "the capabilities of the new namespace were not given up")


def _limit(limits: ChildLimits) -> None:
    for what, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(what, (most, most))
