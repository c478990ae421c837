"""QEMU through libvirt: local, embedded or over ssh.

In reading order: ``place`` (where), ``domains`` (what libvirt's XML says, in our words), ``inventory`` (looking at
machines), ``power`` (the switch), ``keeper`` (the watchdog on the host), ``freeze``, ``trackers`` (checkpoints and
dirty bitmaps), ``running`` and ``stopped`` (the two ways to capture), ``captures`` (which of them), ``definition`` and
``replicas`` (the powered-off twin), ``leftovers``, ``canary`` (is the guard asked?), ``site`` (all of it in one hand).
"""

from twinhull.platforms.qemu.site import QemuPlatform

PLATFORM = QemuPlatform()
"""The platform, as the manager finds it."""

__all__ = ["PLATFORM", "QemuPlatform"]
