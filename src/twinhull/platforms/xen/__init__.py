"""The platform ``xen``: a Xen host with libvirt's libxl driver, reached by ssh.

What it shares with other platforms is in :mod:`twinhull.platforms.libvirt`. In reading order: ``sidecar`` (what Xen
cannot say), ``survey`` (all that the host's files say, in one command), ``machines`` (the inventory), ``console``,
``definition`` and ``replicas`` (the powered-off twin), ``qmp`` and ``monitor`` (the QEMU that serves a running
machine's disks), ``running`` and ``copied`` (capturing a machine that runs), ``captures`` (whichever state it is in),
``leftovers``, ``site``.
"""

from twinhull.platforms.xen.site import XenPlatform

PLATFORM = XenPlatform()
"""The platform, as the manager finds it."""

__all__ = ["PLATFORM", "XenPlatform"]
