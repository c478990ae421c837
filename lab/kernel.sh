#!/bin/bash
# kernel.sh OUTDIR -- unpack Debian's cloud kernel below OUTDIR without installing it on this machine.
# Afterwards OUTDIR/version, OUTDIR/vmlinuz and OUTDIR/lib/modules/VERSION (with modules.dep) exist, the modules
# uncompressed: the guests' busybox loads no others.
set -euo pipefail
OUT=$1
PACKAGE=$(apt-cache depends linux-image-cloud-amd64 | awk '$1=="Depends:"{print $2; exit}')
[ -n "$PACKAGE" ] || { echo "kernel.sh: apt knows no linux-image-cloud-amd64; run apt-get update" >&2; exit 1; }
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
chmod 777 "$W"   # apt's own user writes the download
(cd "$W" && apt-get -qq download "$PACKAGE")
mkdir -p "$OUT"
dpkg -x "$W"/*.deb "$OUT"
# Since Debian 13 the modules lie below /usr and are compressed.
if [ -d "$OUT/usr/lib/modules" ]; then mkdir -p "$OUT/lib"; mv "$OUT/usr/lib/modules" "$OUT/lib/"; fi
find "$OUT/lib/modules" -name '*.ko.xz' -exec xz --decompress --threads=0 {} +
V=$(basename "$OUT"/lib/modules/*)
depmod -b "$OUT" "$V"
mv "$OUT/boot/vmlinuz-$V" "$OUT/vmlinuz"
echo "$V" > "$OUT/version"
