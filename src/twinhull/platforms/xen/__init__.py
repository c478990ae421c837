"""The platform ``xen``: a Xen host with libvirt's libxl driver, reached by ssh.

In reading order: ``place`` (where, and its locks), ``domains`` (what libvirt's XML says, in our words), ``sidecar``
(what Xen cannot say), ``images`` (disk images and the trackers in them), ``machines`` (the inventory), ``power`` (the
switch), ``definition`` and ``replicas`` (the powered-off twin), ``qmp`` and ``monitor`` (the QEMU that serves a running
machine's disks), ``running`` and ``stopped`` (the two ways to capture), ``captures`` (which of them), ``leftovers``,
``site``.
"""

from twinhull.platforms.xen.site import XenPlatform

PLATFORM = XenPlatform()
"""The platform, as the manager finds it."""

__all__ = ["PLATFORM", "XenPlatform"]
