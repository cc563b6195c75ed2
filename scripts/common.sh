# Shared by the scripts that set a machine up: words, root, and the distribution's packages. Sourced, with
# the script's name in `self`.
# shellcheck shell=bash disable=SC2154 # self

# Not every login reads the profile that rustup wrote.
export PATH="$HOME/.cargo/bin:$PATH"

say() { printf '%s: %s\n' "$self" "$*"; }
die() { printf '%s: %s\n' "$self" "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "root is needed for '$*', and sudo is not installed: run 'make' as root once"
    fi
}

# `debian` or `fedora`, by what installs packages here; empty elsewhere.
distribution() {
    if command -v apt-get >/dev/null; then echo debian; elif command -v dnf >/dev/null; then echo fedora; fi
}

is_installed() {
    case "$(distribution)" in
        debian) dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed ;;
        fedora) rpm -q --whatprovides "$1" >/dev/null 2>&1 ;;
        *) false ;;
    esac
}

# Installs those of the packages, as this distribution calls them, that are missing, and says which. No
# recommended ones: nothing is to come along that starts something.
install_missing() {
    local missing=() package
    for package in "$@"; do is_installed "$package" || missing+=("$package"); done
    [ "${#missing[@]}" != 0 ] || return 0
    case "$(distribution)" in
        debian)
            say "installing with apt-get: ${missing[*]}"
            as_root apt-get update -q
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
            ;;
        fedora)
            say "installing with dnf: ${missing[*]}"
            as_root dnf install -y --setopt=install_weak_deps=False "${missing[@]}"
            ;;
        *) die "neither apt-get nor dnf is here; install by hand: ${missing[*]}" ;;
    esac
}
