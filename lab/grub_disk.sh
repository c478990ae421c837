#!/bin/bash
# grub_disk.sh OUT.raw SIZE_MIB ROOTDIR LABEL [UUID] -- a BIOS-bootable MBR disk with one ext4 partition, from a directory.
# No mounts, no loop devices, no grub-install: sfdisk + mke2fs -d + grub-mkimage + dd.
set -euo pipefail
OUT=$1; SIZE=$2; ROOT=$3; LABEL=$4; UUID=${5:-}
G=/usr/lib/grub/i386-pc
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
rm -f "$OUT"; truncate -s "${SIZE}M" "$OUT"
printf 'label: dos\nlabel-id: 0x7448554c\nstart=2048, type=83, bootable\n' | sfdisk -q "$OUT"
# The ext4 features left out are those that Xen 4.17's pygrub (libfsimage) cannot read.
mke2fs -q -t ext4 -F -L "$LABEL" -O ^metadata_csum,^64bit,^metadata_csum_seed,^orphan_file \
  -E offset=1048576,root_owner=0:0 ${UUID:+-U "$UUID"} -d "$ROOT" "$OUT" $((SIZE * 1024 - 1024))k
cat > "$W/early.cfg" <<'C'
set root=(hd0,msdos1)
set prefix=(hd0,msdos1)/boot/grub
configfile /boot/grub/grub.cfg
C
grub-mkimage -O i386-pc -o "$W/core.img" -p '(hd0,msdos1)/boot/grub' -c "$W/early.cfg" \
  biosdisk part_msdos ext2 normal configfile linux serial terminal echo ls cat test search search_label \
  search_fs_uuid minicmd halt reboot
[ "$(stat -c %s "$W/core.img")" -lt $((2047 * 512)) ]
dd if=$G/boot.img of="$OUT" bs=440 count=1 conv=notrunc status=none   # the first 440 bytes only: the partition table stays
dd if="$W/core.img" of="$OUT" bs=512 seek=1 conv=notrunc status=none
