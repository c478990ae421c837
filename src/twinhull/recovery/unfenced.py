"""What holds after a take-over from a source that could not be fenced: there is no witness to keep it from starting."""

from __future__ import annotations

import shlex


def until_it_is_fenced(machine: str, site: str) -> str:
    """Until when the old side can still start the machine, and what to do about it (promise 5)."""
    return (
        f"Until Twinhull reaches {site} again, its host can still start {machine}: keep that host switched off or cut "
        f"off. 'twinhull serve' fences it within seconds once it answers; without serve, run "
        f"'twinhull sync {shlex.quote(machine)}' before anyone starts {machine} there."
    )
