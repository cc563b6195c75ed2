#!/bin/sh
# The life of a guest, by busctl. $1: a network's document, $2: a domain's.
set -eu
call() { busctl --user call org.warren1 "$@"; }
# What `o "/path"` names.
path() { call "$@" | sed 's/^o "\(.*\)"$/\1/'; }
property() { busctl --user get-property org.warren1 "$1" "org.warren1.$2" "$3"; }
is() { [ "$1" = "$2" ] || { echo "'$2' was expected, '$1' came" >&2; exit 1; }; }
has() { case "$1" in *"$2"*) ;; *) echo "'$2' was expected in: $1" >&2; exit 1 ;; esac; }

is "$(property /org/warren1 Manager Scope)" 's "session"'
network=$(path /org/warren1 org.warren1.Manager DefineNetwork 'sa{sv}' "$(cat "$1")" 0)
guest=$(path /org/warren1 org.warren1.Manager DefineDomain 'sa{sv}' "$(cat "$2")" 0)
is "$(path /org/warren1 org.warren1.Manager GetDomainByName s guest)" "$guest"
has "$(busctl --user tree org.warren1)" "$guest"
busctl --user introspect org.warren1 "$guest" | grep -q '^\.OpenConsole *method'
# It starts its network, too.
is "$(path "$guest" org.warren1.Domain Start 'a{sv}' 0)" /
is "$(property "$guest" Domain State)" 's "running"'
is "$(property "$network" Network State)" 's "active"'
for _ in $(seq 300); do
    leases=$(call "$network" org.warren1.Network GetLeases 'a{sv}' 0)
    case "$leases" in 'aa{sv} 0') sleep 0.1 ;; *) break ;; esac
done
has "$leases" "\"domain\" o \"$guest\""
# Its ROM asks again and again: by now the address may be known by ARP alone.
has "$(call "$guest" org.warren1.Domain GetAddresses 'a{sv}' 0)" '"interface" s "net0"'
# The descriptor comes over, and is of no use to busctl.
has "$(call "$guest" org.warren1.Domain OpenConsole 'a{sv}' 0)" 'h '
call "$guest" org.warren1.Domain Suspend 'a{sv}' 0
is "$(property "$guest" Domain State)" 's "paused"'
call "$guest" org.warren1.Domain Resume 'a{sv}' 0
is "$(property "$guest" Domain State)" 's "running"'
is "$(path "$guest" org.warren1.Domain Stop 'a{sv}' 0)" /
is "$(property "$guest" Domain State)" 's "shutoff"'
is "$(path "$guest" org.warren1.Domain Undefine 'a{sv}' 0)" /
is "$(path "$network" org.warren1.Network Stop 'a{sv}' 1 force b true)" /
is "$(path "$network" org.warren1.Network Undefine 'a{sv}' 0)" /
! call "$guest" org.warren1.Domain Start 'a{sv}' 0 2>/dev/null
echo LIVED
