#!/bin/sh
# Twinhull's guard at the power switch: a libvirt hook (qemu, libxl) that refuses to start a machine whose standing on
# this host does not let it. Machines without a standing start freely. Called as: NAME OPERATION SUB-OPERATION EXTRA,
# with the machine's definition on standard input.
[ "$2" = prepare ] && [ "$3" = begin ] || exit 0
directory='@DIRECTORY@'
definition=$(cat)
uuid=$(printf '%s\n' "$definition" | sed -n 's:.*<uuid>\([0-9a-fA-F-]*\)</uuid>.*:\1:p' | head -n 1 | tr A-F a-f)
if [ -z "$uuid" ]; then
  echo "Twinhull's guard: the definition of machine '$1' names no UUID; it is not started." >&2
  exit 1
fi

# Somebody has the stopped machine's disks open.
disks=$directory/run/$uuid.disks
if [ -e "$disks" ] && ! flock -n -x "$disks" true; then
  echo "Twinhull's guard: the disks of machine $uuid are being copied; it is not started." >&2
  exit 1
fi

standing=$directory/standings/$uuid.json
if [ -e "$standing" ] && ! { grep -q '"role": "primary"' "$standing" && grep -q '"is_dirty": false' "$standing"; }; then
  echo "Twinhull's guard: machine $uuid may not start on this host: $(tr -d '\n' < "$standing")" >&2
  exit 1
fi

# A fully virtualized Xen machine opens its image twice while it boots; QEMU then breaks an image that holds dirty
# bitmaps. Ours are taken out: the next capture compares in full.
drop_bitmaps() {
  qemu-img info -f qcow2 --output=json -- "$1" | sed -n 's/.*"name": "\(twinhull-[a-z0-9-]*\)".*/\1/p' | while read -r bitmap; do
    qemu-img bitmap --remove -f qcow2 -- "$1" "$bitmap" || exit 1
  done
}
if printf '%s\n' "$definition" | grep -q "<domain type='xen'" && printf '%s\n' "$definition" | grep -q '>hvm</type>'; then
  printf '%s\n' "$definition" | sed -n "s:.*<source file='\([^']*\.qcow2\)'.*:\1:p" | while read -r image; do
    drop_bitmaps "$image" || exit 1
  done || { echo "Twinhull's guard: a change tracker could not be taken out of machine $uuid; it is not started." >&2; exit 1; }
fi
exit 0
