#!/bin/bash
# Installs the Debian packages that lab/packages.txt names, where one is missing. Needs root.
set -euo pipefail
list=$(dirname "$(readlink -f "$0")")/packages.txt
wanted=$(sed 's/#.*//' "$list" | xargs)
# Debian 13 took libvirt's other drivers out of libvirt-daemon; earlier releases have no such packages.
. /etc/os-release
if [ "${VERSION_ID:-13}" -ge 13 ]; then
  wanted+=" libvirt-daemon-driver-network libvirt-daemon-driver-storage libvirt-daemon-driver-secret"
fi
missing=()
for package in $wanted; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "Installing from Debian: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# A new machine has other programs asking for the same lock now and then: wait for it.
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
$apt update
$apt install -y --no-install-recommends "${missing[@]}" >/dev/null
