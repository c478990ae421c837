"""A seccomp filter that leaves a process its memory, its open pipes and its end: nothing can be opened or started.

Sources: seccomp(2), linux/filter.h, linux/seccomp.h, linux/audit.h; the kernel's tables of system calls for x86-64
(arch/x86/entry/syscalls/syscall_64.tbl) and for 64-bit ARM (include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data."""
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2

_CALLS: Mapping[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "sched_yield": (24, 124),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""What a Python process needs to compute, to talk over open pipes and to end: numbers on x86-64 and on 64-bit ARM."""

_ARCHITECTURES: Mapping[str, tuple[int, int]] = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""For each machine name of uname(2): its AUDIT_ARCH, and its column above."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def allow_only_computing() -> None:
    """Refuse (EPERM) every other system call of this process from now on, for good.

    Raises:
        OSError: the kernel has no seccomp filters, or the processor's system calls are not known here.
    """
    if os.uname().machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter of system calls is known for {os.uname().machine}")
    instructions = _filter(*_ARCHITECTURES[os.uname().machine])
    program = _Program(len(instructions), (_Instruction * len(instructions))(*instructions))
    control(_SET_NO_NEW_PRIVS, 1)
    control(_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


def control(option: int, *arguments: object) -> None:
    """Call prctl(2); raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(item) if isinstance(item, int) else item for item in (*arguments, 0, 0, 0, 0)[:4]]
    if library.prctl(option, *padded):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter(audit: int, column: int) -> list[_Instruction]:
    numbers = [numbers[column] for numbers in _CALLS.values()]
    allowed = [_Instruction(_JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    return [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _Instruction(_JUMP_IF_EQUAL, 1, 0, audit),
        _Instruction(_RETURN, 0, 0, _KILL),
        _Instruction(_LOAD, 0, 0, _NUMBER),
        *allowed,
        _Instruction(_RETURN, 0, 0, _REFUSE),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    ]
