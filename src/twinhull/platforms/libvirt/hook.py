"""The guard at libvirt's power switch: a hook script on the host, put there, told to libvirt, and taken away."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from twinhull.hosts.host import Host
from twinhull.platforms.contract import GuardGrade
from twinhull.platforms.guard import guard


class LibvirtGuard(ABC):
    """The hook of one driver on one host; each platform says how strong it is there.

    ``driver`` is libvirt's name of its driver, in hook directories. ``is_asked``: an embedded libvirt asks no hooks.
    """

    def __init__(self, host: Host, hooks_directory: str, driver: str, directory: str, *, is_asked: bool) -> None:
        self._host = host
        self._where = hooks_directory, driver, directory
        self.is_asked = is_asked
        self.is_prepared = False

    @abstractmethod
    def grade(self) -> GuardGrade:
        """How strong it is right now."""

    @property
    def is_installed(self) -> bool:
        """Whether the script is in place."""
        return guard.is_installed(self._host, *self._where)

    def prepare(self) -> None:
        """Put the script in place, if libvirt asks hooks; safe to repeat."""
        if self.is_asked and guard.install(self._host, *self._where):
            self._reload()
        self.is_prepared = True

    def _reload(self) -> None:
        """Tell libvirt that there are hooks; what cannot be told is tried again at the next connection.

        Until then the site can be used, as it could without a guard; ``site check`` tells that no hook is asked.
        """
        _, driver, directory = self._where
        if self._host.run(["sh", "-c", _RELOAD, "twinhull-reload"]).is_ok:
            guard.libvirt_was_told(self._host, driver, directory)

    def withdraw(self) -> Sequence[str]:
        """Take the guard away, unless a standing here needs it; returns what was left on the host."""
        return guard.withdraw(self._host, *self._where)


_RELOAD = """
reloaded=1
for unit in libvirtd virtqemud virtxend; do
  if systemctl --quiet is-active "$unit" 2>/dev/null; then systemctl reload "$unit" || exit; reloaded=0; fi
done
exit $reloaded
"""
