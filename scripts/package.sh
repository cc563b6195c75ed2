#!/bin/bash
# Makes packages of what `make install` lays down, into target/packages; called by `make deb` and `make rpm`.
#
# usage: package.sh root|deb|rpm [DIR]    root: only the files, in target/packages/root
# DIR holds warrend and warrenctl; without it they are built for release. Installs what it needs and is
# missing, and says so: cargo-deb by cargo, rpmbuild by apt-get or dnf. With WARREN_DEB_FAST the .deb is
# compressed badly, for tests.
set -euo pipefail
cd "$(dirname "$0")/.."
self=package
. scripts/common.sh

readonly out=$PWD/target/packages
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
readonly version

# Lays down the files; $1 is the directory of the programs, the rest is for make.
make_root() {
    rm -rf "$out/root"
    mkdir -p "$out"
    make --no-print-directory install "BIN=$1" "DESTDIR=$out/root" "${@:2}" >/dev/null
    strip --strip-debug "$out/root/usr/sbin/warrend" "$out/root/usr/bin/warrenctl"
}

build() {
    local bin=${1:-}
    if [ -z "$bin" ]; then
        make --no-print-directory build >&2
        bin=${CARGO_TARGET_DIR:-target}/release
    fi
    make_root "$bin" "${@:2}"
}

make_deb() {
    if ! cargo deb --version >/dev/null 2>&1; then
        say "installing cargo-deb with cargo, from crates.io (some minutes)"
        cargo install --locked cargo-deb
    fi
    build "${1:-}"
    rm -f "$out"/*.deb
    # shellcheck disable=SC2086 # nothing, or one word
    cargo deb --no-build --locked ${WARREN_DEB_FAST:+--fast} --output "$out/warren_${version}_$(dpkg --print-architecture).deb"
}

make_rpm() {
    case "$(distribution)" in
        fedora) install_missing rpm-build systemd-rpm-macros ;;
        *) command -v rpmbuild >/dev/null || install_missing rpm ;;
    esac
    build "${1:-}" ZSH_DIR=site-functions
    rm -f "$out"/*.rpm
    # The programs are built already, by the tool chain that this repository asks for and not by a package.
    rpmbuild -bb --quiet --define "_topdir $out/rpmbuild" --define "_rpmdir $out" --define "_sourcedir $PWD" \
        --define "warren_version $version" --define "warren_root $out/root" \
        --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' packaging/rpm/warren.spec
    say "$(ls "$out"/*.rpm)"
}

case "${1:-}" in
    root) build "${2:-}" ;;
    deb) make_deb "${2:-}" ;;
    rpm) make_rpm "${2:-}" ;;
    *) die "usage: package.sh root|deb|rpm [DIR]" ;;
esac
