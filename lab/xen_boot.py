"""One start of the Xen host's QEMU: its command line, the same for saving a state and for restoring it.

A saved state fits this very command line only, so that a change to this file makes a new state.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1"
MEMORY = "2304M"
DOM0_MEMORY = "768M"
CPU = "max,-smap,-rdtscp,-avx,-avx2,-f16c,-vaes,-xsave,-xsaveopt,-xsavec,-xsaves,-xgetbv1,-pku,-mpx"
"""With smap dom0 dies at once, with rdtscp PVH guests do. With AVX and the XSAVE that goes with it, emulated, programs
in dom0 crash at random as soon as a PV guest runs beside them."""
XEN_OPTIONS = " ".join(
    [
        "console=com1 com1=115200,8n1",
        f"dom0_mem={DOM0_MEMORY},max:{DOM0_MEMORY}",
        # With two, dom0 spends half of its time waiting for one emulated CPU to flush the other's translations.
        "dom0_max_vcpus=1 dom0_vcpus_pin",
        # Nothing here has to be defended against speculation. Saving the FPU late loses dom0's registers to hvm guests.
        "spec-ctrl=no,eager-fpu",
    ]
)
DOM0_OPTIONS = "console=hvc0 quiet mitigations=off nofsgsbase"
"""With fsgsbase, every switch of processes in a PV dom0 reads a register that Xen has to emulate."""
MONITOR_SECONDS = 60
"""How long QEMU may take to open its monitor."""


@dataclass(frozen=True)
class Boot:
    """One start of the host's QEMU from the image, with the saved state's memory, writing to ``disk``."""

    image: Path
    state: Path
    directory: Path
    disk: Path
    port: int
    is_restored: bool

    def command(self) -> list[str]:
        """QEMU's command line: the same for saving and for restoring, but for where memory writes go."""
        share = "off" if self.is_restored else "on"
        memory = f"memory-backend-file,id=m0,size={MEMORY},mem-path={self.state}/memory,share={share}"
        dom0 = f"{self.image}/vmlinuz-dom0 {DOM0_OPTIONS},{self.image}/initrd-dom0.gz"
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
        # With one CPU dom0 does not come up.
        command += ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", CPU, "-smp", "2"]
        command += ["-machine", "q35,memory-backend=m0", "-object", memory, "-m", MEMORY]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-serial", f"file:{self.directory}/console.log"]
        command += ["-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"]
        command += ["-kernel", f"{self.image}/xen.bin", "-append", XEN_OPTIONS, "-initrd", dom0]
        command += ["-drive", f"file={self.disk},format=qcow2,if=virtio,cache=unsafe,aio=threads,discard=unmap"]
        command += ["-netdev", f"user,id=n0,restrict=on,hostfwd=tcp:{ADDRESS}:{self.port}-10.0.2.15:22"]
        command += ["-device", "virtio-net-pci,netdev=n0,romfile="]
        return [*command, *(["-S", "-incoming", "defer"] if self.is_restored else [])]

    def start(self) -> subprocess.Popen[bytes]:
        """Start QEMU and wait for its monitor."""
        monitor = self.directory / "qmp"
        monitor.unlink(missing_ok=True)
        with (self.directory / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + MONITOR_SECONDS
        while not monitor.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"QEMU did not start: {(self.directory / 'qemu.log').read_text()[-2000:]}")
            time.sleep(0.02)
        return process
