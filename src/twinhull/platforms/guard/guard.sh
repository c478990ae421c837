#!/bin/sh
# Twinhull's guard at the power switch: a hook of libvirt's (qemu, libxl), called as NAME OPERATION SUB-OPERATION EXTRA
# with the machine's definition on standard input. It refuses to start a machine that this host may not start.
case "$2 $3" in
  "prepare begin" | "start begin" | "started begin" | "reconnect begin" | "stopped end" | "release end") ;;
  *) exit 0 ;;
esac
directory='@DIRECTORY@'
protected='@PROTECTED@'
if ! command -v python3 >/dev/null; then
  case $2 in prepare | start) ;; *) exit 0 ;; esac
  echo "Twinhull: $1 must not start here: Twinhull's guard needs python3 (apt-get install python3)." >&2
  exit 1
fi
exec python3 -I -S -X utf8 -c "$(
  cat <<'PROGRAM'
@PROGRAM@
PROGRAM
)" "$directory" "$protected" "$1" "$2"
