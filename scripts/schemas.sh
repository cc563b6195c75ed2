#!/bin/bash
# Takes libvirt's RELAX NG schemas out of the distribution's package, for tests/schema.rs. The package is
# fetched and unpacked below target/, never installed: nothing of it runs. Prints the schemas' directory.
set -euo pipefail
cd "$(dirname "$0")/.."
self=schemas
. scripts/common.sh

target=$PWD/target
schemas=$target/schemas/usr/share/libvirt/schemas
if [ ! -f "$schemas/domain.rng" ]; then
    fetched=$(mktemp -d)
    trap 'rm -rf "$fetched"' EXIT
    # apt's own user downloads.
    chmod 0755 "$fetched"
    mkdir -p "$target/schemas"
    if [ "$(distribution)" = debian ]; then
        fetch() { (cd "$fetched" && apt-get download -q libvirt0) >&2; }
        # A list of packages that is missing or old names a file that is not there.
        fetch || { as_root apt-get update -q >&2 && fetch; }
        dpkg-deb -x "$fetched"/libvirt0_*.deb "$target/schemas"
    else
        dnf download -q --destdir "$fetched" libvirt-libs >&2
        (cd "$target/schemas" && rpm2cpio "$fetched"/libvirt-libs-*.x86_64.rpm | cpio -idm --quiet './usr/share/libvirt/schemas/*')
    fi
fi
[ -f "$schemas/domain.rng" ] || die "no domain.rng in the package"
printf '%s\n' "$schemas"
