#!/bin/bash
# Lives a package's life in a booted Debian, as root, with alice in the groups of the example rules and bob in
# none. Prints "ok: STEP" or "FAIL: STEP: why" for each step; scripts/test-boot.sh wants all of them ok.
#
# Started by boot-test.service; beside it lie guest.xml and the package.
set -uo pipefail
# A failure shows when each command began.
PS4='+$SECONDS '
cd "$(dirname "$0")" || exit 1

LIMIT=$(cat limit)

# step NAME FUNCTION: runs it to its first failure.
step() {
    local name=$1 output status begun=$SECONDS
    output=$({ set -ex; "$2"; } 2>&1)
    status=$?
    if [ "$status" = 0 ]; then
        echo "ok: $name ($((SECONDS - begun)) s)"
    else
        echo "FAIL: $name: $output"
        systemctl status --no-pager --full warrend.service 2>&1 | tail -n 40
        journalctl --no-pager --dmesg --grep apparmor 2>&1 | tail -n 20
    fi
}

# within SECONDS COMMAND: waits until it succeeds; five times as long where the emulator's machine does much else.
within() {
    local until=$((SECONDS + 5 * $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 1
    done
}

# bus USER VERB …: emulation inside of emulation takes its time. What polkit has not answered in time is tried again,
# as the service says.
bus() {
    local user=$1 status try
    shift
    for try in 1 2 3; do
        status=0
        runuser -u "$user" -- busctl --system --timeout=600 "$@" 2>/run/boot-test.said || status=$?
        [ "$status" != 0 ] && [ "$try" != 3 ] && grep -q 'polkit did not answer' /run/boot-test.said || break
    done
    cat /run/boot-test.said >&2
    return "$status"
}
manager() { local user=$1; shift; bus "$user" call org.warren1 /org/warren1 org.warren1.Manager "$@"; }
network() { manager alice GetNetworkByName s default | cut -d '"' -f 2; }
domain() { manager alice GetDomainByName s probe | cut -d '"' -f 2; }
# Asks of the object, as alice: call PATH INTERFACE METHOD; get PATH INTERFACE PROPERTY
call() { bus alice call org.warren1 "$1" "org.warren1.$2" "$3" 'a{sv}' 0; }
get() { bus alice get-property org.warren1 "$1" "org.warren1.$2" "$3" | cut -d ' ' -f 2- | tr -d '"'; }
# A line that begins with "!" ends no step.
no() { ! "$@"; }
inactive() { [ "$(systemctl is-active warrend.service)" = inactive ]; }
state_is() { [ "$(get "$1" "$2" State)" = "$3" ]; }
names() { busctl --system list --no-legend | grep warren; }
rules() { nft list tables | grep warren; }
links() { ip -o link show | grep -E ': (wbr|wtap)'; }

kernel_confines() {
    grep -qx 'warrend (enforce)' /sys/kernel/security/apparmor/profiles
    grep -q '^warrend.*qemu.* (enforce)' /sys/kernel/security/apparmor/profiles
}

idle_ends() {
    # It was started for autostart; the configuration gives it five seconds.
    systemctl is-enabled --quiet warrend.service
    within 120 inactive
    [ "$(systemctl show --property Result --value warrend.service)" = success ]
}

user_activates() {
    [ "$(bus bob get-property org.warren1 /org/warren1 org.warren1.Manager Scope)" = 's "system"' ]
    systemctl is-active --quiet warrend.service
}

daemon_is_confined() {
    [ "$(tr -d '\0' <"/proc/$(systemctl show --property MainPID --value warrend.service)/attr/apparmor/current")" = 'warrend (enforce)' ]
}

stranger_is_refused() {
    local answer
    answer=$(manager bob DefineDomain 'sa{sv}' "$(cat guest.xml)" 0 2>&1) && return 1
    grep -Ei 'denied|authentication|authorization' <<<"$answer"
}

user_starts_network() {
    # A program that the service runs may take longer here than anybody waits for it.
    within 60 call "$(network)" Network Start
    within 60 state_is "$(network)" Network active
    links
    rules
}

user_starts_guest() {
    manager alice DefineDomain 'sa{sv}' "$(cat guest.xml)" 0
    within 60 call "$(domain)" Domain Start
    within 30 state_is "$(domain)" Domain running
    get "$(domain)" Domain Pid >/run/boot-test.pid
}

guest_is_apart() {
    local pid
    pid=$(cat /run/boot-test.pid)
    cat "/proc/$pid/cgroup" "/proc/$pid/attr/apparmor/current"
    grep -q 'warren-.*\.scope' "/proc/$pid/cgroup"
    grep -qE '^Uid:[[:space:]]19000' "/proc/$pid/status"
    grep -qE '^CapEff:[[:space:]]0+$' "/proc/$pid/status"
    grep -q 'qemu.*(enforce)' "/proc/$pid/attr/apparmor/current"
}

has_lease() { call "$(network)" Network GetLeases | grep -q 52:54:00; }
guest_gets_an_address() { within 240 has_lease; }

score() {
    local line score
    line=$(systemd-analyze security --no-pager warrend.service | tail -n 1)
    score=$(sed -n 's/.*: \([0-9.]*\) .*/\1/p' <<<"$line")
    echo "score: $score" >/dev/ttyS0
    awk -v score="$score" -v limit="$LIMIT" 'BEGIN { exit !(score != "" && score <= limit) }'
}

same_guest() {
    [ "$(get "$(domain)" Domain Pid)" = "$(cat /run/boot-test.pid)" ]
    state_is "$(domain)" Domain running
    state_is "$(network)" Network active
    kill -0 "$(cat /run/boot-test.pid)"
}

journal_names() {
    journalctl --no-pager --quiet WARREN_DOMAIN=probe | grep 'domain started'
    journalctl --no-pager --quiet WARREN_NETWORK=default | grep 'network started'
    systemctl service-log-level warrend.service debug
    [ "$(systemctl service-log-level warrend.service)" = debug ]
    systemctl service-log-level warrend.service info
}

restart_keeps_guest() {
    local before
    before=$(systemctl show --property MainPID --value warrend.service)
    systemctl restart warrend.service
    [ "$(systemctl show --property MainPID --value warrend.service)" != "$before" ]
    same_guest
}

# The other host is this one, and there she is bob, who may see that there is a guest, and not end it.
other_host_is_reached() {
    local as_bob='runuser -u alice -- warrenctl --host bob@127.0.0.1' uuid answer
    runuser -u alice -- env HOME=/home/alice sh -ec 'mkdir -m 0700 "$HOME/.ssh"; ssh-keygen -q -t ed25519 -N "" -f "$HOME/.ssh/id_ed25519"
        echo "StrictHostKeyChecking accept-new" >"$HOME/.ssh/config"'
    install -d -m 0700 -o bob /home/bob/.ssh
    install -m 0600 -o bob /home/alice/.ssh/id_ed25519.pub /home/bob/.ssh/authorized_keys
    systemctl start ssh.service
    uuid=$($as_bob vm list --long | awk '$1 == "probe" && $2 == "running" { print $NF }')
    answer=$($as_bob --json vm stop "$uuid" 2>&1) && return 1
    grep -E 'AccessDenied|InteractiveAuthorizationRequired' <<<"$answer"
    systemctl stop ssh.service
    same_guest
}

upgrade_keeps_guest() {
    local before
    before=$(systemctl show --property MainPID --value warrend.service)
    dpkg --install package.deb
    within 60 systemctl is-active warrend.service
    [ "$(systemctl show --property MainPID --value warrend.service)" != "$before" ]
    same_guest
}

autostart_is_once() {
    bus alice call org.warren1 "$(network)" org.warren1.Network SetAutostart 'ba{sv}' true 0
    call "$(domain)" Domain Stop
    call "$(network)" Network Stop
    systemctl restart warrend.service
    sleep 5
    state_is "$(network)" Network inactive
    # As a boot would: what was noted in this one is gone.
    systemctl stop warrend.service
    rm /run/warren/autostarted
    systemctl start warrend.service
    within 60 state_is "$(network)" Network active
    call "$(network)" Network Stop
}

idle_and_again() {
    no links
    within 120 inactive
    [ -d /run/warren ]
    state_is "$(domain)" Domain shutoff
    systemctl is-active --quiet warrend.service
}

# Without a user's systemd, so that the bus starts the service itself.
session_works() {
    local run=/home/alice/run
    install -d -m 0700 -o alice "$run"
    runuser -u alice -- env XDG_RUNTIME_DIR="$run" HOME=/home/alice dbus-run-session -- sh -ec '
        warrenctl --session net start default
        warrenctl --session vm define guest.xml --start
        warrenctl --session vm list
        cat /proc/$(pgrep -u alice qemu)/attr/apparmor/current
        warrenctl --session vm stop probe
        warrenctl --session net stop default' | tee "$run.said"
    grep -q running "$run.said"
    grep -q 'warrend-qemu (enforce)' "$run.said"
    within 30 no pgrep -u alice -l .
    rm -r "$run" "$run.said"
}

remove_keeps_guest() {
    user_starts_network
    user_starts_guest
    apt-get remove -q -y warren
    no test -e /usr/sbin/warrend
    kill -0 "$(cat /run/boot-test.pid)"
    apt-get install -q -y ./package.deb
    same_guest
}

purge_leaves_nothing() {
    apt-get purge -q -y warren
    no kill -0 "$(cat /run/boot-test.pid)"
    no links
    no rules
    no getent group warren
    no getent group warren-admin
    local name
    for name in qemu dnsmasq warren; do no pgrep -l "$name"; done
    [ -z "$(systemctl list-units --all --no-legend '*warren*')" ]
    no names
    no grep warren /sys/kernel/security/apparmor/profiles
    # What a session keeps at home is the user's.
    [ -z "$(find / /run /tmp -xdev -iname '*warren*' -not -path '/home/*' -print | tee /dev/stderr)" ]
}

echo "begin: $(. /etc/os-release; echo "$PRETTY_NAME"), $(systemctl --version | head -n 1), $(uname -r)"
step "AppArmor has the profiles" kernel_confines
step "an idle service ends" idle_ends
step "an ordinary user's call activates it" user_activates
step "the service is confined" daemon_is_confined
step "a user without rights is refused" stranger_is_refused
step "a user starts a network" user_starts_network
step "a user starts a guest" user_starts_guest
step "the journal has it by name, and its level can be set" journal_names
step "the guest has a scope, a uid and a profile of its own, and no capability" guest_is_apart
step "the guest gets an address" guest_gets_an_address
step "the unit's exposure is within the limit" score
step "a restart keeps the guest" restart_keeps_guest
step "another host is reached over ssh" other_host_is_reached
step "an upgrade keeps the guest" upgrade_keeps_guest
step "autostart happens once in a boot" autostart_is_once
step "an idle service ends and comes again" idle_and_again
step "a user has a session service of their own" session_works
step "a removal keeps the guest, an installation finds it again" remove_keeps_guest
step "a purge leaves nothing" purge_leaves_nothing
echo "end"
