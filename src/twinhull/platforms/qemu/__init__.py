"""QEMU through libvirt: local, embedded or over ssh.

What it shares with other platforms is in :mod:`twinhull.platforms.libvirt`. In reading order: ``inventory`` (looking at
machines), ``screen`` (what can be seen of a running one), ``keeper`` (the watchdog on the host), ``freeze``,
``trackers`` (checkpoints and dirty bitmaps), ``running`` (capturing a machine that runs), ``captures`` (whichever state
it is in), ``definition`` and ``replicas`` (the powered-off twin), ``leftovers``, ``canary`` (is the guard asked?),
``site`` (all of it in one hand).
"""

from twinhull.platforms.qemu.site import QemuPlatform

PLATFORM = QemuPlatform()
"""The platform, as the manager finds it."""

__all__ = ["PLATFORM", "QemuPlatform"]
