#!/bin/bash
# other_release.sh build RELEASE ROOT  -- a root file system of another release of Debian with all that the tests need
# other_release.sh check ROOT SOURCE   -- 'make check' of a copy of SOURCE in it; nothing of ROOT or SOURCE is changed
# Needs root: mmdebstrap, chroot, and namespaces of its own that end with it.
set -euo pipefail
HERE=$(dirname "$(readlink -f "$0")")

# What a root needs of this machine to reach the package registries.
share_network() {
  cp /etc/resolv.conf /etc/hosts "$1/etc/"
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    mkdir -p "$1/etc/ssl/certs"; cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
  fi
}

inside() {
  local root=$1; shift
  chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=xterm \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

build() {
  local release=$1 root=$2 packages
  packages=$(sed 's/#.*//' "$HERE/packages.txt" | xargs | tr ' ' ,)
  mmdebstrap --mode=root --variant=minbase --quiet --include="$packages,make,git,ca-certificates,iproute2" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$root"
  share_network "$root"
  mkdir -p "$root/source"
  cp "$HERE/../requirements-dev.lock" "$root/tmp/"
  inside "$root" /usr/bin/python3 -m venv --system-site-packages /opt/venv
  inside "$root" /opt/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /tmp/requirements-dev.lock
}

# Run again by itself in new namespaces, as their first process: it stays the shell, which buries the dead.
check_inside() {
  local root=$1 source=$2
  mount --make-rprivate /
  work=$(mktemp -d)
  trap 'umount --recursive --lazy "$work/root"; rm -rf "$work"' EXIT
  mkdir "$work"/{upper,work,root}
  mount -t overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
  mount -t proc proc "$work/root/proc"
  for shared in sys dev; do mount --rbind "/$shared" "$work/root/$shared"; done
  mount -t tmpfs tmpfs "$work/root/run"; mkdir -p "$work/root/run/lock"
  share_network "$work/root"
  # What git knows of, and what was added since: a checkout's own files.
  (cd "$source" && git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' - |
    tar --null --create --files-from=-) | tar --extract --directory "$work/root/source"
  inside "$work/root" sh -c 'cd /source && git init --quiet && git add --all &&
    /opt/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --editable . && touch /opt/venv/ready &&
    python3 --version && make check VENV=/opt/venv'
}

case $1 in
  build) build "$2" "$3" ;;
  check) exec unshare --mount --pid --fork --kill-child "$0" check-inside "$2" "$3" ;;
  check-inside) check_inside "$2" "$3" ;;
esac
