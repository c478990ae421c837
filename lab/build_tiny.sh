#!/bin/bash
# build_tiny.sh KERNELDIR OUTDIR -- the tiny guest: Debian's cloud kernel, busybox, guest agent, a TCP service, a heartbeat.
# One image that boots unchanged on QEMU (virtio, SCSI, IDE) and on Xen (PV by pygrub, HVM); and the same for UEFI.
# Results: OUTDIR/tiny.raw, OUTDIR/tiny.qcow2, OUTDIR/tiny-uefi.qcow2, and OUTDIR/tiny-vmlinuz + tiny-initrd for a direct
# kernel boot.
set -euo pipefail
KERNEL=$1; OUT=$2; HERE=$(dirname "$(readlink -f "$0")"); SIZE=${SIZE_MIB:-128}
V=$(cat "$KERNEL/version")
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
chmod 755 "$T"; mkdir -p "$OUT"

# --- initramfs: every driver a platform may need, then the root file system by its label
I=$T/initrd; mkdir -p "$I"/{bin,dev,proc,sys,mod,new}; cp /bin/busybox "$I/bin/busybox"; ln -s busybox "$I/bin/sh"
n=100
for module in virtio_pci virtio_blk virtio_scsi virtio_net virtio_console xen-blkfront xen-netfront ata_piix ata_generic \
  sd_mod button evdev; do
  modprobe -d "$KERNEL" -S "$V" --show-depends $module | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r f; do cp "$f" "$I/mod/$n-$(basename "$f")"; n=$((n + 1)); done
cat > "$I/init" <<'X'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs dev /dev; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys
for m in /mod/*.ko; do $B insmod $m 2>/dev/null; done
i=0
while [ $i -lt 600 ]; do R=$($B findfs LABEL=throot 2>/dev/null) && break; i=$((i + 1)); $B usleep 50000; done
$B mount -t ext4 -o noatime $R /new || { echo "TWINHULL-TINY NO ROOT"; exec $B sh; }
$B mount --move /dev /new/dev; $B umount /proc; $B umount /sys
exec $B switch_root /new /init
X
chmod +x "$I/init"; (cd "$I" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) > "$OUT/tiny-initrd"

# --- root file system
R=$T/root
mkdir -p "$R"/{bin,sbin,dev,proc,sys,tmp,run,etc,data,boot/grub,root,var/log,usr/share/udhcpc,lib64,lib/x86_64-linux-gnu}
ln -s ../run "$R/var/run"   # acpid insists on /var/run
cp /bin/busybox "$R/bin/"
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$R/bin/$applet"; done
GA=/usr/sbin/qemu-ga; cp $GA "$R/bin/"
ldd $GA | awk '/=> \//{print $3}' | while read -r l; do cp -L "$l" "$R/lib/x86_64-linux-gnu/"; done
cp -L /lib64/ld-linux-x86-64.so.2 "$R/lib64/"
cp "$KERNEL/vmlinuz" "$R/boot/vmlinuz"; cp "$OUT/tiny-initrd" "$R/boot/initrd"; cp "$KERNEL/vmlinuz" "$OUT/tiny-vmlinuz"
echo tiny > "$R/etc/hostname"
printf 'root::0:0:root:/root:/bin/sh\n' > "$R/etc/passwd"
printf 'PRETTY_NAME="Twinhull tiny guest"\nID=twinhulltiny\n' > "$R/etc/os-release"
printf 'LABEL=throot / ext4 noatime 0 1\n' > "$R/etc/fstab"
cat > "$R/usr/share/udhcpc/default.script" <<'X'
#!/bin/sh
case $1 in bound|renew) ip addr flush dev $interface; ip addr add $ip/${mask:-24} dev $interface
  [ -n "$router" ] && ip route add default via $router;; esac
X
cat > "$R/bin/handler" <<'X'
#!/bin/sh
# One command line per connection; the answer ends with the connection, its last line is "=STATUS".
read -r command name rest
case $command in
  write) dd if=/dev/urandom of=/data/$name bs=1M count=$rest conv=fsync 2>/dev/null && sync && sha256sum /data/$name;;
  sum) sha256sum /data/$name;;
  sh) sh -c "$name $rest" 2>&1;;
  *) echo "commands: write NAME MIB | sum NAME | sh COMMAND"; false;;
esac
echo "=$?"
X
cat > "$R/bin/heartbeat" <<'X'
#!/bin/sh
# A durable heartbeat: /data/heartbeat holds "COUNT SECONDS", replaced and fsynced once a second unless /run/quiet exists.
i=$(cut -d' ' -f1 /data/heartbeat 2>/dev/null); i=${i:-0}
while :; do
  if [ ! -e /run/quiet ]; then
    i=$((i + 1)); echo "$i $(date +%s)" | dd of=/data/heartbeat.new conv=fsync 2>/dev/null
    mv /data/heartbeat.new /data/heartbeat; sync
  fi
  sleep 1
done
X
cat > "$R/bin/say" <<'X'
#!/bin/sh
# To every console there is: the screen, the serial line, Xen's console.
for t in tty0 ttyS0 hvc0; do [ -c /dev/$t ] && echo "$*" > /dev/$t; done 2>/dev/null
X
cat > "$R/init" <<'X'
#!/bin/sh
export PATH=/bin:/sbin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mkdir -p /dev/pts; mount -t devpts pts /dev/pts
hostname tiny; ip link set lo up
trap 'say TWINHULL-TINY-STOPPING; sync; mount -o remount,ro /; poweroff -f' USR2 TERM
trap 'sync; mount -o remount,ro /; reboot -f' INT
mkdir -p /dev/virtio-ports
for p in /sys/class/virtio-ports/vport*; do
  [ -f $p/name ] && n=$(cat $p/name) && [ -n "$n" ] && ln -sf ../${p##*/} /dev/virtio-ports/$n
done
for i in /sys/class/net/*; do i=${i##*/}; [ $i = lo ] && continue
  ip link set $i up; udhcpc -s /usr/share/udhcpc/default.script -i $i -t 5 -T 1 -b >/dev/null 2>&1 &
done
nc -ll -p 7000 -e /bin/handler &
A=/dev/virtio-ports/org.qemu.guest_agent.0
[ -e $A ] && { mkdir -p /run/qga; qemu-ga -m virtio-serial -p $A -t /run/qga -l /run/qga.log & G=$!
  i=0; until ls -l /proc/$G/fd 2>/dev/null | grep -q vport || [ $i -ge 100 ]; do i=$((i + 1)); usleep 20000; done; }
heartbeat &
acpid -f -c /etc/acpi >/dev/null 2>&1 &
say "TWINHULL-TINY-READY $(cut -d' ' -f1 /proc/uptime) root=$(findfs LABEL=throot) on=$(cat /sys/hypervisor/type 2>/dev/null || echo qemu)"
if [ "$(cat /sys/hypervisor/type 2>/dev/null)" = xen ]; then
  while :; do setsid sh </dev/hvc0 >/dev/hvc0 2>&1; sleep 1; done &
fi
while :; do setsid cttyhack sh </dev/console >/dev/console 2>&1 & wait $!; sleep 1; done
X
# Three ways to be asked to stop: the power button, the guest agent's /sbin/shutdown, Xen's /sbin/poweroff.
mkdir -p "$R/etc/acpi/PWRF"; printf '#!/bin/sh\nkill -USR2 1\n' > "$R/etc/acpi/PWRF/00000080"
for f in shutdown poweroff; do printf '#!/bin/sh\nkill -USR2 1\n' > "$R/sbin/$f"; done
rm -f "$R/bin/poweroff"; printf '#!/bin/sh\nexec busybox poweroff "$@"\n' > "$R/bin/poweroff"
chmod +x "$R"/init "$R"/bin/{handler,heartbeat,say,poweroff} "$R"/usr/share/udhcpc/default.script "$R"/etc/acpi/PWRF/* "$R"/sbin/{shutdown,poweroff}
cat > "$R/boot/grub/grub.cfg" <<'X'
serial --unit=0 --speed=115200
terminal_output console serial
set timeout=0
set default=0
menuentry "tiny" {
  linux /boot/vmlinuz root=LABEL=throot console=tty0 console=ttyS0 quiet net.ifnames=0 tsc=unstable panic=5
  initrd /boot/initrd
}
X
"$HERE/grub_disk.sh" "$OUT/tiny.raw" "$SIZE" "$R" throot
qemu-img convert -q -f raw -O qcow2 "$OUT/tiny.raw" "$OUT/tiny.qcow2"
"$HERE/uefi_disk.sh" "$T/uefi.raw" "$SIZE" "$R" throot
qemu-img convert -q -f raw -O qcow2 "$T/uefi.raw" "$OUT/tiny-uefi.qcow2"
