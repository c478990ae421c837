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

# Somebody has the stopped machine's disks open; who only asks whether they are has the lock for an instant.
disks=$directory/run/$uuid.disks
if [ -e "$disks" ] && ! flock -w 2 -x "$disks" true; then
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
refuse() {
  echo "Twinhull's guard: a change tracker could not be taken out of '$1' of machine $uuid; it is not started." >&2
  exit 1
}
# Only disks that Xen opens as qcow2: a raw disk's guest could write itself an image that we would then open.
images() {
  awk -v RS='<' '
    function value(name) {
      if (!match($0, "[ \t\n]" name "=(\047[^\047]*\047|\"[^\"]*\")")) return ""
      return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
    }
    /^disk[ \t\n>]/ { format = path = "" }
    /^driver[ \t\n]/ { format = value("type") }
    /^source[ \t\n]/ && path == "" { path = value("file"); if (path == "") path = value("dev") }
    /^\/disk>/ && format == "qcow2" && path ~ /^\// {
      gsub(/&apos;/, "\047", path); gsub(/&quot;/, "\"", path)
      gsub(/&lt;/, "<", path); gsub(/&gt;/, ">", path); gsub(/&amp;/, "\\&", path)
      print path
    }'
}
drop_bitmaps() {
  [ "$(head -c 4 -- "$1" 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 514649fb ] || return 0
  info=$(qemu-img info --force-share -f qcow2 --output=json -- "$1") || return 1
  for bitmap in $(printf '%s\n' "$info" | sed -n 's/.*"name": "\(twinhull-[a-z0-9-]*\)".*/\1/p'); do
    qemu-img bitmap --remove -f qcow2 -- "$1" "$bitmap" || return 1
  done
}
is_in() { printf '%s\n' "$definition" | grep -q -- "$1"; }
if is_in "<domain type=['\"]xen['\"]" && is_in '>hvm</type>'; then
  found=$(printf '%s\n' "$definition" | images) || refuse 'the disks'
  [ -z "$found" ] || printf '%s\n' "$found" | while IFS= read -r image; do
    drop_bitmaps "$image" || refuse "$image"
  done || exit 1
fi
exit 0
