#!/bin/bash
# Builds the test guest: DIR/kernel, the distribution's kernel, DIR/initrd, busybox with `init`
# of this directory and the kernel's NIC and disk drivers, and DIR/clock, what is to be on the kernel's
# command line on this machine. Needs nothing but the packages of
# scripts/setup.sh, and no privilege where the distribution lets its kernels be read.
#
# usage: build.sh DIR    (does nothing when DIR already holds this very guest)
set -euo pipefail

readonly out=$1
here=$(cd "$(dirname "$0")" && pwd)
die() { printf 'test guest: %s\n' "$*" >&2; exit 1; }

# The newest kernel that is readable and has its modules beside it. Debian's cloud kernel comes
# first: it boots fastest.
find_kernel() {
    local kernel
    for kernel in $(ls -1 /boot/vmlinuz-*-cloud-amd64 2>/dev/null | sort -rV) \
        $(ls -1 /lib/modules/*/vmlinuz /boot/vmlinuz-* 2>/dev/null | sort -rV); do
        version=${kernel##*/vmlinuz-}
        [ "${kernel##*/}" != vmlinuz ] || version=$(basename "$(dirname "$kernel")")
        if [ -r "$kernel" ] && [ -d "/lib/modules/$version/kernel" ]; then
            printf '%s %s\n' "$kernel" "$version"
            return
        fi
    done
    die "no readable kernel with modules under /boot or /lib/modules: run scripts/setup.sh"
}

# A busybox without shared libraries: the initramfs has none.
find_busybox() {
    local candidate
    for candidate in /bin/busybox /usr/bin/busybox /sbin/busybox /usr/sbin/busybox /bin/busybox-static; do
        [ -x "$candidate" ] || continue
        if ! ldd "$candidate" >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "no static busybox: run scripts/setup.sh"
}

# Copies the module and, before it, what it depends on; a driver that the kernel does not have, or
# has built in, is left out.
declare -A placed=()
# Not every user's PATH has what reads modules.
PATH=$PATH:/usr/sbin:/sbin
command -v modinfo >/dev/null || die "modinfo is missing: install kmod"
place_module() {
    local name=$1 file dependency
    [ -z "${placed[$name]:-}" ] || return 0
    placed[$name]=1
    file=$(modinfo -k "$version" -n "$name" 2>/dev/null) || return 0
    [ -f "$file" ] || return 0
    for dependency in $(modinfo -k "$version" -F depends "$name" | tr ',' ' '); do
        place_module "$dependency"
    done
    case "$file" in
        *.ko) cp "$file" "$root/modules/$name.ko" ;;
        *.ko.xz) xz -dc "$file" >"$root/modules/$name.ko" ;;
        *.ko.zst) zstd -qdc "$file" >"$root/modules/$name.ko" ;;
        *.ko.gz) gzip -dc "$file" >"$root/modules/$name.ko" ;;
    esac
    printf '%s.ko\n' "$name" >>"$root/modules/order"
}

read -r kernel version <<<"$(find_kernel)"
busybox=$(find_busybox)
stamp=$(cat "$here"/{build.sh,init,lease} "$busybox" "$kernel" | sha256sum)
mkdir -p "$out"
exec 9>"$out/lock"
flock 9
# The same until the machine boots.
booted=$(cat /proc/sys/kernel/random/boot_id)
if [ "$(cat "$out/clock-stamp" 2>/dev/null)" != "$booted" ] || ! [ -e "$out/clock" ]; then
    khz=$("$here/tsc-khz" 2>/dev/null) || khz=
    printf '%s\n' "${khz:+tsc=reliable tsc_early_khz=$khz}" >"$out/clock"
    printf '%s\n' "$booted" >"$out/clock-stamp"
fi
[ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,modules}
install -m 0755 "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
install -m 0755 "$here/init" "$root/init"
install -m 0755 "$here/lease" "$root/lease"
: >"$root/modules/order"
for module in virtio_pci virtio_net e1000 e1000e 8139cp ne2k-pci pcnet32 virtio_blk af_packet; do
    place_module "$module"
done
grep -qx 'virtio_net.ko' "$root/modules/order" || grep -q virtio_net "/lib/modules/$version/modules.builtin" ||
    die "kernel $version has no virtio_net: install the distribution's kernel modules"

(cd "$root" && find . -print0 | cpio -0 --quiet -o -H newc -R 0:0) | gzip -1 >"$out/initrd.new"
# Guests run under uids of their own, which may not read /boot.
install -m 0644 "$kernel" "$out/kernel"
chmod 0644 "$out/initrd.new"
mv "$out/initrd.new" "$out/initrd"
printf '%s\n' "$stamp" >"$out/stamp"
