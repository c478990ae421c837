#!/bin/bash
# build_debian.sh OUTDIR -- debian.qcow2: this machine's release of Debian with systemd, guest agent and PostgreSQL, bootable by BIOS + GRUB.
# Unchanged, it boots on QEMU (virtio), on Xen as PV (pygrub) and on Xen as HVM.
set -euo pipefail
OUT=$1; HERE=$(dirname "$(readlink -f "$0")"); SIZE_MIB=1600
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
chmod 755 "$W"; R=$W/root
. /etc/os-release
UUID=$(cat /proc/sys/kernel/random/uuid)
PACKAGES=linux-image-cloud-amd64,systemd-sysv,udev,dbus,qemu-guest-agent,iproute2,initramfs-tools,zstd,kmod
PACKAGES+=,netbase,procps,e2fsprogs,postgresql
# The initramfs must find its root disk on every platform: MODULES=most carries the drivers of all of them.
INITRAMFS='mkdir -p "$1"/etc/initramfs-tools/conf.d; printf "MODULES=most\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n" > "$1"/etc/initramfs-tools/conf.d/lab'
mmdebstrap --mode=root --variant=minbase --quiet --include=$PACKAGES \
  --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --essential-hook="$INITRAMFS" "$VERSION_CODENAME" "$R"
PG=$(basename "$R"/etc/postgresql/*)

echo lab-debian > "$R/etc/hostname"
echo "UUID=$UUID / ext4 errors=remount-ro,noatime 0 1" > "$R/etc/fstab"
mkdir -p "$R/etc/systemd/network" "$R/boot/grub"
# By MAC, whatever the platform calls the card.
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n[DHCPv4]\nClientIdentifier=mac\n' > "$R/etc/systemd/network/20-any.network"
chroot "$R" systemctl -q enable systemd-networkd.service
chroot "$R" systemctl -q mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer \
  fstrim.timer e2scrub_all.timer e2scrub_reap.service dpkg-db-backup.timer systemd-timesyncd.service

# The database: reachable by its user with its password, every commit durable (the default), modest memory.
C=$R/etc/postgresql/$PG/main
printf "listen_addresses = '*'\nshared_buffers = 32MB\njit = off\nmax_wal_size = 128MB\nlog_min_messages = warning\n" > "$C/conf.d/lab.conf"
echo 'host lab lab 0.0.0.0/0 scram-sha-256' >> "$C/pg_hba.conf"
cat > "$R/etc/systemd/system/lab-ready.service" <<U
[Unit]
Description=Make the lab's database and say that it answers
After=postgresql@$PG-main.service systemd-networkd.service
Requires=postgresql@$PG-main.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/lab-ready
[Install]
WantedBy=multi-user.target
U
cat > "$R/usr/local/sbin/lab-ready" <<'S'
#!/bin/sh
# Idempotent: the role and the database are made at the first boot and found at every later one.
as() { setpriv --reuid=postgres --regid=postgres --init-groups psql -qtAX "$@"; }
until as -c 'select 1' >/dev/null 2>&1; do sleep 0.2; done
[ "$(as -c "select 1 from pg_roles where rolname = 'lab'")" = 1 ] || as -c "create role lab login password 'lab' in role pg_read_server_files"
[ "$(as -c "select 1 from pg_database where datname = 'lab'")" = 1 ] || as -c 'create database lab owner lab'
# The demo reads the kernel's own count of bytes written, /proc/diskstats, through the database.
as -d lab -c 'grant execute on function pg_read_file(text, bigint, bigint) to lab'
line="TWINHULL-DEBIAN-READY $(cut -d' ' -f1 /proc/uptime)"
for console in ttyS0 hvc0 tty0; do echo "$line" > /dev/$console; done 2>/dev/null
true
S
chmod +x "$R/usr/local/sbin/lab-ready"
chroot "$R" systemctl -q enable lab-ready.service

V=$(basename "$R"/lib/modules/*)
cat > "$R/boot/grub/grub.cfg" <<G
serial --unit=0 --speed=115200
terminal_output console serial
set timeout=0
set default=0
menuentry 'Debian' {
  search --no-floppy --fs-uuid --set=root $UUID
  linux /boot/vmlinuz-$V root=UUID=$UUID ro quiet console=tty0 console=ttyS0 net.ifnames=0
  initrd /boot/initrd.img-$V
}
G
rm -rf "$R"/var/cache/apt/* "$R"/var/lib/apt/lists/*
: > "$R/etc/machine-id"
"$HERE/grub_disk.sh" "$W/debian.raw" $SIZE_MIB "$R" labroot "$UUID"
qemu-img convert -f raw -O qcow2 "$W/debian.raw" "$OUT/debian.qcow2"
