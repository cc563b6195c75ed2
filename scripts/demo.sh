#!/bin/bash
# The demonstration: two guests with leases of a rootless network reach each other, and one reaches out
# over NAT. Called by `make demo` after its set-up.
#
# All of it happens in namespaces of its own, with an "internet" of its own, so that the machine's
# network is not touched and none is needed. The service runs as an ordinary user (for root: nobody).
set -euo pipefail
cd "$(dirname "$0")/.."

heading() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
note() { printf '   %s\n' "$*"; }
die() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
indent() { sed 's/^/   /'; }

# A web server somewhere out there, which only the uplink leads to.
readonly INTERNET=203.0.113.5

# ---- outside: build, make the namespaces, clean up ------------------------------------------------

outside() {
    heading "Building"
    cargo build --locked 2>&1 | tail -n 3 | indent
    local target
    target=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    tests/guest/build.sh "$target/guest"
    dir=$(mktemp -d /tmp/warren-demo.XXXXXX)
    trap 'rm -rf "$dir"' EXIT
    chmod 755 "$dir"
    cp "$target"/debug/warrend "$target"/debug/warrenctl "$target"/guest/{kernel,initrd,clock} "$dir"
    local spaces=(--net --mount --ipc --pid --fork --mount-proc --kill-child)
    # Without root, a user namespace gives the right to make the others.
    [ "$(id -u)" = 0 ] || spaces=(--user --map-current-user --keep-caps "${spaces[@]}")
    unshare "${spaces[@]}" true 2>/dev/null ||
        die "namespaces cannot be made here (unshare ${spaces[*]}); as root they can: sudo make demo"
    local status=0
    setpriv --pdeathsig KILL unshare "${spaces[@]}" bash "$0" --inside "$dir" || status=$?
    [ "$status" = 0 ] || die "failed with status $status; the service's log: $(tail -n 30 "$dir/warrend.log" 2>/dev/null)"
    rm -rf "$dir"
    # A process of the demo would have died with its namespace; look nevertheless.
    ! grep -qs "$dir" /proc/[0-9]*/cmdline || die "a process of the demo is left"
    [ ! -e "$dir" ] || die "$dir is left"
    heading "cleaned up"
    note "no process, interface or file of the demo is left"
}

# ---- inside: the machine of the demo ---------------------------------------------------------------

# Runs a command as the ordinary user, without any capability.
as_user() {
    local ids=()
    [ "$(id -u)" != 0 ] || ids=(--reuid=nobody --regid="$(id -g nobody)" --clear-groups)
    # In the background, the program is to take the place of the shell, so that its pid is known.
    ${exec:-} setpriv "${ids[@]}" --inh-caps=-all --ambient-caps=-all -- env -i PATH="$PATH" HOME="$dir/user" \
        XDG_RUNTIME_DIR="$dir/user/run" STATE_DIRECTORY="$dir/user/state" RUNTIME_DIRECTORY="$dir/user/run" \
        CONFIGURATION_DIRECTORY="$dir/user/config" DBUS_SESSION_BUS_ADDRESS="unix:path=$dir/user/bus" "$@"
}

warrenctl() {
    [ -n "${quiet:-}" ] || printf '   $ warrenctl %s\n' "${*//$dir\//}" >&2
    as_user "$dir/warrenctl" --session "$@"
}

# Waits until the command succeeds.
wait_for() {
    local what=$1 n
    shift
    for n in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.5
    done
    die "in five minutes, this did not happen: $what"
}

make_internet() {
    ip link set lo up
    unshare --net sleep infinity &
    internet=$!
    wait_for "the internet has a namespace of its own" \
        bash -c "[ \$(readlink /proc/$internet/ns/net) != \$(readlink /proc/self/ns/net) ]"
    ip link add uplink type veth peer name eth0 netns "$internet"
    ip address add 198.51.100.1/24 dev uplink
    ip link set uplink up
    in_internet ip link set lo up
    in_internet ip address add 198.51.100.2/24 dev eth0
    in_internet ip address add "$INTERNET/32" dev lo
    in_internet ip link set eth0 up
    ip route add default via 198.51.100.2
    mkdir "$dir/www"
    echo "hello from the internet" >"$dir/www/index.html"
    in_internet busybox httpd -p 80 -h "$dir/www"
    # The distributions' default, which a new namespace lacks: users may ping.
    local group
    group=$(as_user id -g)
    echo "$group $group" >/proc/sys/net/ipv4/ping_group_range
}

in_internet() { nsenter --target "$internet" --net "$@"; }

start_service() {
    install -d -m 0700 "$dir/user" "$dir/user/run" "$dir/user/state" "$dir/user/config"
    [ "$(id -u)" != 0 ] || chown -R nobody: "$dir/user"
    as_user dbus-daemon --session --nofork --nosyslog --address="unix:path=$dir/user/bus" &
    wait_for "the message bus listens" test -S "$dir/user/bus"
    exec=exec as_user "$dir/warrend" --session 2>"$dir/warrend.log" &
    service=$!
    quiet=1 wait_for "the service answers" warrenctl net list
}

guest_document() {
    cat <<XML
<domain type='qemu'>
  <name>$1</name>
  <memory unit='MiB'>96</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>$dir/kernel</kernel>
    <initrd>$dir/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 mitigations=off $(cat "$dir/clock") warren.name=$1</cmdline>
  </os>
  <devices>
    <interface type='network'>
      <source network='default'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'/>
  </devices>
</domain>
XML
}

# guest NAME COMMAND: runs a command in the guest, over its serial console, and prints what it printed.
guest() {
    local name=$1 tag="D$RANDOM$RANDOM" text n
    shift
    printf '   %s# %s\n' "$name" "$*" >&2
    { printf '%s %s\n' "$tag" "$*"; sleep 2; } | quiet=1 timeout_console "$name" >/dev/null || true
    # The console keeps what was printed, so it may be read again until the answer is complete.
    for n in $(seq 20); do
        text=$(sleep 1 | quiet=1 timeout_console "$name" | tr -d '\r') || true
        if grep -q "DONE $tag 0" <<<"$text"; then
            sed -n "/BEGIN $tag/,/DONE $tag/p" <<<"$text" | sed "/BEGIN $tag/d; s/DONE $tag.*//; /^\$/d" | indent
            return
        fi
        ! grep -q "DONE $tag" <<<"$text" || break
    done
    die "'$*' failed in the guest $name: $text"
}

timeout_console() { as_user timeout 8 "$dir/warrenctl" --session vm console "$1" 2>/dev/null; }

booted() { sleep 1 | timeout_console "$1" | grep -q READY; }

address_of() { quiet=1 warrenctl net leases default | awk -v name="$1" '$3 == name { sub("/.*", "", $1); print $1 }'; }

demonstrate() {
    heading "A machine of its own, with an uplink to an internet of its own"
    make_internet
    note "uplink 198.51.100.1, web server http://$INTERNET/"

    heading "The service, on a private message bus, as $(as_user id -un) (uid $(as_user id -u), no capabilities)"
    start_service
    note "warrend --session runs"

    heading "The network 'default': NAT, DHCP and DNS without root"
    warrenctl net start default
    warrenctl net list | indent

    heading "Two guests"
    local name
    for name in ada grace; do
        guest_document "$name" >"$dir/$name.xml"
        warrenctl vm define "$dir/$name.xml" | indent
        warrenctl vm start "$name" | indent
        # One after the other: a guest that boots takes a whole CPU.
        wait_for "$name has booted" booted "$name"
    done
    warrenctl vm list | indent
    note "both have booted (under emulation, without KVM)"

    heading "Their leases"
    for name in ada grace; do guest "$name" lease eth0; done
    warrenctl net leases default | indent
    local ada grace
    ada=$(address_of ada)
    grace=$(address_of grace)
    [ -n "$ada" ] && [ -n "$grace" ] || die "the service tells no lease of ada or grace"

    heading "Each reaches the other"
    guest ada reach "$grace"
    guest grace reach "$ada"

    heading "One reaches out over NAT"
    # The request's side stays open until the answer is there, as a browser's does.
    guest ada "(printf 'GET / HTTP/1.0\\r\\n\\r\\n'; sleep 2) | nc -w 5 $INTERNET 80 | tail -n 1"

    heading "Stopping everything"
    for name in ada grace; do
        warrenctl vm stop "$name" | indent
        warrenctl vm undefine "$name" | indent
    done
    warrenctl net stop default | indent
    local helper
    for helper in qemu-system dnsmasq pasta nethost; do
        # The brackets keep the search from finding itself.
        wait_for "no $helper is left" bash -c "! grep -qs '[${helper:0:1}]${helper:1}' /proc/[0-9]*/cmdline"
    done
    kill "$service"
    wait "$service" || die "the service did not end well"
    note "guests, network, DHCP server, uplink and service have ended"
}

if [ "${1:-}" = --inside ]; then
    dir=$2
    demonstrate
else
    outside
fi
