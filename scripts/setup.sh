#!/bin/bash
# Makes this machine able to build, test and demonstrate Warren.
#
# Installs the system packages that are missing (and says which), with apt-get on Debian and its
# kin, with dnf on Fedora and its kin; by sudo when not root. Checks the Rust tool chain and
# /dev/net/tun. Safe to run again: where nothing is missing it changes nothing.
set -euo pipefail
self=setup
. "$(dirname "$0")/common.sh"

# The oldest rustc that builds Warren; Cargo.toml's `rust-version` says the same.
readonly RUST_MIN="1.89"

# What each package is for, so that nobody has to guess why it is wanted.
readonly DEBIAN_PACKAGES=(
    qemu-system-x86     # the virtual machines
    ovmf                # UEFI firmware of guests
    qemu-utils          # qemu-img, for disk images in tests
    dnsmasq-base        # DHCP and DNS of networks
    nftables            # firewall rules of networks
    iproute2            # hosts of the tests
    iputils-ping        # reachability from those hosts
    dbus-daemon         # private buses, dbus-run-session
    libglib2.0-bin      # gdbus, a client of the tests
    python3-dbus        # another one, also of the bench
    python3-gi          # the example client
    systemd             # busctl, a third, and of the recipes; systemd-stdio-bridge: the bus of another host
    polkitd             # authorisation in system scope
    passt               # pasta: uplink of the session's networks
    busybox-static      # the test guest's user land
    linux-image-cloud-amd64 # the test guest's kernel
    cpio                # packs the test guest
    gettext             # translations of polkit's questions
    xz-utils            # unpacks compressed kernel modules
    kmod                # modinfo: what a module needs
    tcpdump             # captures of the tests
    libxml2-utils       # xmllint: documents against libvirt's schemas
    apparmor            # its parser, which judges our profiles
    rpm                 # rpmbuild, which judges our spec
    make                # what packages hold is what `make install` lays down
    gcc                 # linker of the Rust build
    libc6-dev
    util-linux          # unshare, nsenter, setpriv
    bsdutils            # script: terminals of the tests
    zsh fish            # completion is tested in them
)
readonly FEDORA_PACKAGES=(
    qemu-system-x86-core edk2-ovmf qemu-img dnsmasq nftables iproute iputils tcpdump dbus-daemon polkit passt libxml2
    rpm-build make gettext busybox kernel-core kernel-modules-core kernel-modules cpio xz kmod gcc glibc-devel util-linux
    glib2 python3-dbus python3-gobject-base util-linux-script systemd zsh fish
)

wanted_packages() {
    case "$(distribution)" in
        fedora) printf '%s\n' "${FEDORA_PACKAGES[@]}" ;;
        *)
            # A cloud kernel that is there without its meta package serves as well.
            local without=
            ! compgen -G '/boot/vmlinuz-*-cloud-amd64' >/dev/null || without=linux-image-cloud-amd64
            printf '%s\n' "${DEBIAN_PACKAGES[@]}" | grep -vx "$without"
            ;;
    esac
}

install_packages() {
    local wanted
    mapfile -t wanted < <(wanted_packages)
    install_missing "${wanted[@]}"
    # To install one package may remove another that stood in its way, so it is looked again.
    install_missing "${wanted[@]}"
    say "all system packages are installed"
}

check_rust() {
    local how="get it from https://rustup.rs (curl --proto '=https' -sSf https://sh.rustup.rs | sh), then open a new shell"
    command -v cargo >/dev/null || die "cargo is not installed; $how"
    local have
    have=$(rustc --version | awk '{print $2}')
    if [ "$(printf '%s\n' "$RUST_MIN" "$have" | sort -V | head -n1)" != "$RUST_MIN" ]; then
        die "rustc $have is too old, $RUST_MIN or newer is needed; 'rustup update' fetches it, or $how"
    fi
    say "rustc $have"
    cargo fmt --version >/dev/null 2>&1 || die "rustfmt is missing: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || die "clippy is missing: rustup component add clippy"
}

# Rootless networks open TAP devices as an ordinary user, inside a namespace of that user. Both
# distributions ship the device with mode 0666 for that reason; containers sometimes do not have it.
check_tun() {
    if [ ! -c /dev/net/tun ]; then
        say "making /dev/net/tun (character device 10:200)"
        as_root mkdir -p /dev/net
        as_root modprobe tun 2>/dev/null || true
        [ -c /dev/net/tun ] || as_root mknod /dev/net/tun c 10 200
    fi
    if [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
        say "setting /dev/net/tun to mode 0666, the distributions' default"
        as_root chmod 0666 /dev/net/tun
    fi
    say "/dev/net/tun is usable"
}

check_schemas() {
    local schemas
    schemas=$("$(dirname "$0")/schemas.sh") || die "libvirt's schemas could not be fetched"
    say "libvirt's schemas are in $schemas"
}

[ "$(uname -m)" = x86_64 ] || die "tests and demo run x86-64 guests on an x86-64 machine; this one is $(uname -m)"
install_packages
check_rust
check_tun
check_schemas
