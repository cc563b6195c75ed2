#!/bin/bash
# Boots a Debian with systemd and our package in it, as a guest under emulation, and lives the life of the
# package there: tests/boot/inside.sh. Called by `make test` at its end, and by `make test-boot`.
#
# The Debian is made once by debootstrap and kept in target/boot; WARREN_DEBIAN_MIRROR says from where, else
# this machine's apt does. Needs root for that. The guest has no network.
set -euo pipefail
cd "$(dirname "$0")/.."
self=boot
. scripts/common.sh

readonly SUITE=bookworm
# What the package depends on, and what a machine has.
readonly PACKAGES=systemd,systemd-sysv,libpam-systemd,dbus,polkitd,qemu-system-x86,dnsmasq-base,nftables,iproute2,passt,apparmor,kmod,procps,openssh-server,openssh-client,linux-image-cloud-amd64
# Seconds for the whole life.
readonly DEADLINE=${WARREN_BOOT_DEADLINE:-3600}
# Seconds of CPU without a word after which the emulated machine itself hangs: no step takes so many, however little
# of this machine it gets. That was seen once in a dozen times, with both of its CPUs busy.
readonly SILENCE=${WARREN_BOOT_SILENCE:-840}
# The highest exposure that the unit may have; docs/packaging.md says what it is made of.
readonly LIMIT=4.5

target=$(cargo metadata --format-version 1 --no-deps --offline --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
readonly target boot=$target/boot

install_tools() {
    local keyring=debian-archive-keyring emulator=qemu-system-x86
    [ "$(distribution)" != fedora ] || keyring=debian-keyring emulator=qemu-system-x86-core
    install_missing debootstrap "$keyring" dpkg e2fsprogs "$emulator"
}

mirror() {
    local from
    # shellcheck disable=SC2016 # apt's variables, not the shell's
    from=${WARREN_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 2>/dev/null | awk -v suite="$SUITE" '$1 == suite { print $2 }' | tail -n 1)}
    printf '%s\n' "${from:-http://deb.debian.org/debian}"
}

# A Debian without our package; made anew when what it consists of has changed.
make_tree() {
    local key
    key=$(printf '%s %s\n' "$SUITE" "$PACKAGES" | sha256sum | cut -c 1-16)
    tree=$boot/tree-$key
    if [ ! -e "$tree/made" ]; then
        say "making a Debian $SUITE below $boot"
        as_root rm -rf "$tree" "$tree.new"
        mkdir -p "$boot"
        as_root debootstrap --variant=minbase "--include=$PACKAGES" "$SUITE" "$tree.new" "$(mirror)" >"$boot/debootstrap.log" 2>&1 ||
            die "debootstrap failed: $(tail -n 5 "$boot/debootstrap.log")"
        as_root sh -c "rm -rf '$tree.new'/var/cache/apt/archives/*.deb '$tree.new'/var/lib/apt/lists/* && touch '$tree.new/made'"
        as_root mv "$tree.new" "$tree"
    fi
}

# The Debian with our package, as the administrator of a machine would set it up.
furnish() {
    local root=$work/root
    as_root cp -a --reflink=auto "$tree" "$root"
    as_root mkdir -p "$root/root/boot" "$root/etc/warren" "$root/etc/polkit-1/rules.d"
    as_root cp tests/boot/guest.xml tests/boot/inside.sh "$root/root/boot"
    as_root chmod -R a+rX "$root/root"
    as_root cp "$deb" "$root/root/boot/package.deb"
    echo "$LIMIT" | as_root tee "$root/root/boot/limit" >/dev/null
    as_root cp tests/boot/boot-test.service "$root/etc/systemd/system/"
    echo "idle-seconds = 5" | as_root tee "$root/etc/warren/warrend.toml" >/dev/null
    as_root cp policy/50-warren-example.rules "$root/etc/polkit-1/rules.d/50-example.rules"
    echo 'APT::Sandbox::User "root";' | as_root tee "$root/etc/apt/apt.conf.d/90boot-test" >/dev/null
    # What the kernel would load on demand, while somebody waits.
    printf '%s\n' bridge tun nf_tables nft_chain_nat nft_masq nft_ct | as_root tee "$root/etc/modules-load.d/boot-test.conf" >/dev/null
    echo force-unsafe-io | as_root tee "$root/etc/dpkg/dpkg.cfg.d/90boot-test" >/dev/null
    as_root chroot "$root" dpkg --install /root/boot/package.deb >"$boot/install.log" 2>&1 ||
        die "the package could not be installed: $(tail -n 20 "$boot/install.log")"
    as_root chroot "$root" sh -ec '
        useradd --create-home --groups warren,warren-admin alice
        useradd --create-home bob
        systemctl --quiet enable boot-test.service
        systemctl --quiet mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
            dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer'
    cp "$(compgen -G "$root/boot/vmlinuz-*-cloud-amd64")" "$work/kernel"
    cp "$(compgen -G "$root/boot/initrd.img-*-cloud-amd64")" "$work/initrd"
    truncate -s 3G "$work/disk"
    as_root env PATH="$PATH:/usr/sbin:/sbin" mke2fs -q -F -t ext4 -O ^has_journal -d "$root" "$work/disk"
    as_root chmod 0666 "$work/disk"
    as_root rm -rf "$root"
}

# Seconds of CPU that the machine has taken.
taken() { awk -v ticks="$(getconf CLK_TCK)" '{ print int(($14 + $15) / ticks) }' "/proc/$qemu/stat" 2>/dev/null || echo 0; }

# Returns 1 if the machine hangs.
run() {
    local khz
    # A machine that measures its own clock while this one is busy measures wrong.
    khz=$(tests/guest/tsc-khz) || khz=
    : >"$log"
    mkfifo "$work/monitor.in" "$work/monitor.out"
    qemu-system-x86_64 -nodefaults -no-reboot -display none -machine pc -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nic none \
        -kernel "$work/kernel" -initrd "$work/initrd" -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
        -append "root=/dev/vda rw console=ttyS0 quiet mitigations=off panic=-1 systemd.show_status=false${khz:+ tsc=reliable tsc_early_khz=$khz}" \
        -device virtio-rng-pci -serial "file:$log" -monitor "pipe:$work/monitor" &
    qemu=$!
    # Both end with the guest, and the guest with the deadline.
    tail --pid="$qemu" -n +1 -f "$log" | sed -u 's|\r||' | grep --line-buffered -aE '^(begin|ok|FAIL|score|end)' &
    local until=$((SECONDS + DEADLINE)) said=0 size=0 now hangs=0
    while kill -0 "$qemu" 2>/dev/null && [ "$SECONDS" -lt "$until" ] && [ "$(($(taken) - said))" -lt "$SILENCE" ]; do
        sleep 1
        now=$(stat -c %s "$log")
        [ "$now" = "$size" ] || { size=$now said=$(taken); }
    done
    if kill -0 "$qemu" 2>/dev/null; then
        [ "$(($(taken) - said))" -lt "$SILENCE" ] || hangs=1
        say "the guest did not end within $DEADLINE s, or said nothing for $SILENCE s of its CPUs, which are here:"
        for _ in 1 2 3; do
            echo 'info registers -a' >"$work/monitor.in"
            timeout 2 cat "$work/monitor.out" | grep -aoE 'CPU#[0-9]|RIP=[0-9a-f]+' | paste -sd ' ' || true
        done
        kill "$qemu"
    fi
    wait || true
    qemu=
    rm "$work"/monitor.*
    return "$hangs"
}

judge() {
    local wanted passed
    wanted=$(grep -c '^step ' tests/boot/inside.sh)
    passed=$(tr -d '\r' <"$log" | grep -ac '^ok: ') || true
    say "$passed of $wanted steps passed, in $SECONDS s; the console is in $log"
    if [ "$passed" != "$wanted" ] || grep -qa '^FAIL' "$log" || ! grep -qa '^end' "$log"; then
        tr -d '\r' <"$log" | sed -n '/^FAIL/,/^ok/p' | head -n 200 >&2
        die "failed"
    fi
}

clean_up() {
    [ -z "${qemu:-}" ] || kill "$qemu" 2>/dev/null || true
    as_root rm -rf "$work"
}

main() {
    [ "$(uname -m)" = x86_64 ] || die "this needs an x86-64 machine"
    mkdir -p "$boot"
    exec 9>"$boot/lock"
    flock 9
    qemu=
    work=$(mktemp -d "$boot/work.XXXXXX")
    trap clean_up EXIT
    log=$boot/console.log
    install_tools
    make_tree
    say "the Debian is there after $SECONDS s"
    cargo build --locked 2>&1 | tail -n 1
    WARREN_DEB_FAST=1 scripts/package.sh deb "$target/debug"
    deb=$(echo target/packages/warren_*.deb)
    furnish
    say "package and disk are there after $SECONDS s"
    # A step that fails is not tried again; a machine that hangs is.
    if ! run; then
        say "the emulated machine hangs; once more"
        furnish
        run || true
    fi
    judge
}

main
exit
