"""The words of all other devices: see :mod:`~twinhull.platforms.libvirt.definition.words`."""

from __future__ import annotations

from twinhull.platforms.libvirt.definition.vocabulary import Table, harmless, kept, reported

_SCREEN = harmless("for a person at the screen; a replica has a screen of its own")
_SERIAL = ("pty", "file", "unix", "tcp", "udp", "null", "vc", "stdio", "pipe", "spicevmc", "spiceport", "nmdm", "dbus")
_CHANNELS = ("org.qemu.guest_agent.0", "com.redhat.spice.0", "org.spice-space.webdav.0")

DEVICES: Table = {
    "devices": kept(),
    "devices/emulator": harmless("the target's own"),
    "devices/controller/": harmless("the target lays out its own buses"),
    "devices/controller@model": kept("of the SCSI disks' controller"),
    "devices/channel/": harmless("the guest agent's is kept, those of the screen are the screen's"),
    "devices/channel/target@name": reported("the channel {value}", *_CHANNELS),
    "devices/console/": harmless("a replica has a serial port of its own"),
    "devices/serial/": harmless("a replica has a serial port of its own"),
    "devices/serial@type": reported("the host's serial device ({value})", *_SERIAL),
    "devices/parallel/": reported("its parallel port"),
    "devices/graphics/": _SCREEN,
    "devices/video/": _SCREEN,
    "devices/audio/": _SCREEN,
    "devices/hub/": _SCREEN,
    "devices/redirdev/": _SCREEN,
    "devices/redirfilter/": _SCREEN,
    "devices/input/": _SCREEN,
    "devices/input@type": reported("the host's input device ({value})", "mouse", "keyboard", "tablet"),
    "devices/sound/": reported("its sound card", named_by="@model"),
    "devices/smartcard/": reported("its smartcard reader"),
    "devices/memballoon/": harmless("a replica has its own"),
    "devices/rng/": kept(),
    "devices/watchdog/": kept(),
    "devices/filesystem/": reported("the shared directory", named_by="target@dir"),
    "devices/hostdev/": reported("the host device of the kind", named_by="@type"),
    "devices/tpm/": reported("its TPM, and the keys that are sealed in it"),
    "devices/panic/": reported("its panic device", named_by="@model"),
    "devices/vsock/": reported("its vsock device"),
    "devices/shmem/": reported("its shared memory", named_by="@name"),
    "devices/iommu/": reported("its IOMMU", named_by="@model"),
    "devices/lease/": reported("its lock", named_by="key"),
    "devices/memory/": reported("its memory device", named_by="@model"),
    "devices/crypto/": reported("its cryptographic device", named_by="@model"),
    "devices/pstore/": reported("its persistent store of kernel messages"),
    "devices/acpiGenericInitiator/": reported("its ACPI initiator"),
    "devices/nvram/": harmless("another architecture's; the architecture is reported"),
}
