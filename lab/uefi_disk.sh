#!/bin/bash
# uefi_disk.sh OUT.raw SIZE_MIB ROOTDIR LABEL -- a UEFI-bootable GPT disk with an EFI system partition and one ext4 partition.
# GRUB lies at the removable path, so that the disk starts without any UEFI variables. No mounts, no loop devices.
set -euo pipefail
OUT=$1; SIZE=$2; ROOT=$3; LABEL=$4
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
ESP_START=2048; ESP_SECTORS=32768; ROOT_START=$((ESP_START + ESP_SECTORS))
rm -f "$OUT"; truncate -s "${SIZE}M" "$OUT"
printf 'label: gpt\nstart=%s, size=%s, type=U\nstart=%s, type=L\n' $ESP_START $ESP_SECTORS $ROOT_START | sfdisk -q "$OUT"
cat > "$W/early.cfg" <<C
search --no-floppy --label $LABEL --set=root
set prefix=(\$root)/boot/grub
configfile /boot/grub/grub.cfg
C
grub-mkimage -O x86_64-efi -o "$W/BOOTX64.EFI" -p /boot/grub -c "$W/early.cfg" \
  part_gpt fat ext2 normal configfile linux serial terminal echo search search_label efi_gop
truncate -s $((ESP_SECTORS * 512)) "$W/esp"
mkfs.vfat -F 16 -n ESP "$W/esp" >/dev/null
mmd -i "$W/esp" ::EFI ::EFI/BOOT
mcopy -i "$W/esp" "$W/BOOTX64.EFI" ::EFI/BOOT/
dd if="$W/esp" of="$OUT" bs=512 seek=$ESP_START conv=notrunc,sparse status=none
# The last MiB is the backup of the partition table's.
mke2fs -q -t ext4 -F -L "$LABEL" -O ^metadata_csum_seed,^orphan_file -E offset=$((ROOT_START * 512)),root_owner=0:0 \
  -d "$ROOT" "$OUT" $((SIZE * 1024 - ROOT_START / 2 - 1024))k
