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
  # Nothing here can parse the definition. It is of no machine that has a standing here if it names none of them.
  definition='' is_protected=0
  while IFS= read -r line || [ -n "$line" ]; do definition=$definition$line; done
  if [ -z "$definition" ] || [ ! -d "$protected" ]; then is_protected=1; fi
  for entry in "$protected"/*; do
    [ -e "$entry" ] || continue
    uuid='' left=${entry##*/}
    while [ -n "$left" ]; do
      behind=${left#?}
      case ${left%"$behind"} in
        a) uuid="$uuid[aA]" ;; b) uuid="$uuid[bB]" ;; c) uuid="$uuid[cC]" ;;
        d) uuid="$uuid[dD]" ;; e) uuid="$uuid[eE]" ;; f) uuid="$uuid[fF]" ;;
        *) uuid=$uuid${left%"$behind"} ;;
      esac
      left=$behind
    done
    case $definition in *$uuid*) is_protected=1 ;; esac
  done
  [ $is_protected = 1 ] || exit 0
  echo "Twinhull: $1 must not start here: Twinhull's guard needs python3 (apt-get install python3)." >&2
  exit 1
fi
exec python3 -I -S -X utf8 -c "$(
  cat <<'PROGRAM'
@PROGRAM@
PROGRAM
)" "$directory" "$protected" "$1" "$2"
