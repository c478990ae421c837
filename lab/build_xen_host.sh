#!/bin/bash
# build_xen_host.sh OUTDIR
#
# Makes a Xen host from the packages of this machine's release of Debian: OUTDIR/{dom0.raw,initrd-dom0.gz,vmlinuz-dom0,xen.bin,client_key,host_key.pub}.
# Needs root (mmdebstrap, chroot). Uses no loop device, mounts no image and touches nothing outside OUTDIR.
set -euo pipefail
OUT=$(readlink -f "$1")
SIZE=${XEN_HOST_DISK_SIZE:-24G}
R=$OUT/root
. /etc/os-release
cd "$OUT"

# xen-system-amd64 names the hypervisor and tools of this release, so no version is written here.
# The cloud kernel has no dom0 support: linux-image-amd64 is needed.
PACKAGES=linux-image-amd64,xen-system-amd64,xen-utils-common,qemu-system-xen,qemu-utils,grub-xen-host
PACKAGES+=,libvirt-daemon,libvirt-daemon-driver-xen,libvirt-daemon-system,libvirt-clients,dbus
PACKAGES+=,openssh-server,dnsmasq-base,iproute2,bridge-utils,systemd-sysv,udev,kmod,python3-minimal,socat,procps

make_root() {
    mmdebstrap --mode=root --variant=minbase --quiet --components=main --include="$PACKAGES" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo COMPRESS=gzip > "$1/etc/initramfs-tools/conf.d/lab"' \
        "$VERSION_CODENAME" "$R"
    KERNEL_VERSION=$(ls "$R/lib/modules")
    rm -rf "$R"/boot/initrd.img* "$R"/var/cache/apt/* "$R"/var/lib/apt/lists/*
}

configure_access() {
    echo xenhost > "$R/etc/hostname"
    echo "127.0.0.1 localhost xenhost" > "$R/etc/hosts"
    echo "/dev/vda / ext4 noatime 0 0" > "$R/etc/fstab"
    ssh-keygen -q -t ed25519 -N '' -C twinhull-lab -f client_key
    mkdir -p -m 700 "$R/root/.ssh"
    install -m 600 client_key.pub "$R/root/.ssh/authorized_keys"
    # With PAM each login starts a service manager of its own, which takes longer here than all else of a login.
    printf 'PermitRootLogin prohibit-password\nUseDNS no\nUsePAM no\nMaxStartups 100\nMaxSessions 100\n' \
        > "$R/etc/ssh/sshd_config.d/lab.conf"
    rm -f "$R"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C xenhost -f "$R/etc/ssh/ssh_host_ed25519_key"
    cp "$R/etc/ssh/ssh_host_ed25519_key.pub" host_key.pub
}

# The uplink is user-mode networking; guests live on a bridge of their own that leads nowhere but to dom0.
configure_network() {
    local N=$R/etc/systemd/network
    mkdir -p "$N"
    printf '[Match]\nDriver=virtio_net\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\n' > "$N/20-uplink.network"
    printf '[NetDev]\nName=xenbr0\nKind=bridge\n' > "$N/10-xenbr0.netdev"
    printf '[Match]\nName=xenbr0\n[Network]\nAddress=10.77.0.1/24\nConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n[Link]\nRequiredForOnline=no\n' > "$N/30-xenbr0.network"
    cat > "$R/etc/lab-dhcp.conf" <<'X'
port=0
interface=xenbr0
bind-dynamic
no-ping
dhcp-authoritative
dhcp-range=10.77.0.10,10.77.0.250,255.255.255.0,12h
dhcp-option=option:router
dhcp-leasefile=/var/lib/misc/lab-dhcp.leases
X
    cat > "$R/etc/systemd/system/lab-dhcp.service" <<'X'
[Unit]
Description=Addresses for the guests on xenbr0
After=systemd-networkd.service
[Service]
ExecStart=/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/etc/lab-dhcp.conf
Restart=always
[Install]
WantedBy=multi-user.target
X
}

configure_services() {
    local unit
    chroot "$R" systemctl --quiet enable systemd-networkd.service ssh.service libvirtd.service lab-dhcp.service
    for unit in systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer dpkg-db-backup.timer logrotate.timer man-db.timer systemd-timesyncd.service \
        libvirt-guests.service systemd-random-seed.service systemd-update-utmp.service apparmor.service \
        getty@tty1.service serial-getty@hvc0.service systemd-hwdb-update.service systemd-journal-flush.service \
        systemd-logind.service systemd-machined.service; do
        chroot "$R" systemctl --quiet mask "$unit"
    done
    mkdir -p "$R/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\n' > "$R/etc/systemd/journald.conf.d/lab.conf"
    # Keep libvirtd (it stops after 120 s idle otherwise) and the consoles of PV guests.
    echo 'LIBVIRTD_ARGS=""' > "$R/etc/default/libvirtd"
    printf 'XENCONSOLED_ARGS="--log=guest --log-dir=/var/log/xen/console"\n' >> "$R/etc/default/xen"
    mkdir -p "$R/var/log/xen/console"
    # A change to this TEST host only: under emulation Xen hides the CPU features sep and vme, so that no CPU model
    # of libvirt's map matches and its libxl driver does not start.
    find "$R/usr/share/libvirt/cpu_map" -name 'x86_*.xml' ! -name x86_features.xml \
        -exec sed -i "/<feature name='\(sep\|vme\)'\/>/d" {} +
}

make_initrd() {
    local I=$OUT/initrd module
    mkdir -p "$I"/{bin,dev,proc,sys,mnt,modules}
    cp /bin/busybox "$I/bin/"
    for module in virtio_pci virtio_blk crc32c_generic ext4; do
        modprobe -d "$R" -S "$KERNEL_VERSION" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > modules.list
    while read -r module; do
        cp "$module" "$I/modules/"
        echo "/modules/${module##*/}" >> "$I/order"
    done < modules.list
    cat > "$I/init" <<'X'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for m in $($B cat /order); do $B insmod $m; done
while [ ! -b /dev/vda ]; do $B usleep 20000; done
$B mount -t ext4 -o noatime /dev/vda /mnt
$B mount --move /dev /mnt/dev
$B umount /proc /sys
exec $B switch_root /mnt /lib/systemd/systemd
X
    chmod +x "$I/init"
    (cd "$I" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) > initrd-dom0.gz
}

make_disk() {
    truncate -s "$SIZE" dom0.raw
    mke2fs -q -F -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$R" dom0.raw
}

make_root
configure_access
configure_network
configure_services
make_initrd
cp "$R/boot/vmlinuz-$KERNEL_VERSION" vmlinuz-dom0
zcat "$R"/boot/xen-*-amd64.gz > xen.bin
make_disk
rm -rf root initrd modules.list
