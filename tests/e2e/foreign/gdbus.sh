#!/bin/sh
# The life of a guest, by gdbus. $1: a network's document, $2: a domain's.
set -eu
call() { object=$1 method=$2; shift 2; gdbus call --session --dest org.warren1 --object-path "$object" --method "$method" "$@"; }
# What `(objectpath '/path',)` names.
path() { call "$@" | sed "s/^(objectpath '\(.*\)',)$/\1/"; }
property() { call "$1" org.freedesktop.DBus.Properties.Get "org.warren1.$2" "$3"; }
is() { [ "$1" = "$2" ] || { echo "'$2' was expected, '$1' came" >&2; exit 1; }; }
has() { case "$1" in *"$2"*) ;; *) echo "'$2' was expected in: $1" >&2; exit 1 ;; esac; }

is "$(property /org/warren1 Manager Scope)" "(<'session'>,)"
network=$(path /org/warren1 org.warren1.Manager.DefineNetwork "$(cat "$1")" '{}')
guest=$(path /org/warren1 org.warren1.Manager.DefineDomain "$(cat "$2")" '{}')
gdbus introspect --session --dest org.warren1 --object-path "$guest" | grep -q 'OpenConsole(in  a{sv} options'
is "$(path "$network" org.warren1.Network.Start '{}')" /
is "$(path "$guest" org.warren1.Domain.Start "{'paused': <true>}")" /
is "$(property "$guest" Domain State)" "(<'paused'>,)"
call "$guest" org.warren1.Domain.Resume '{}'
is "$(property "$guest" Domain State)" "(<'running'>,)"
for _ in $(seq 300); do
    leases=$(call "$network" org.warren1.Network.GetLeases '{}')
    case "$leases" in *address*) break ;; *) sleep 0.1 ;; esac
done
has "$leases" "'domain': <objectpath '$guest'>"
call "$guest" org.warren1.Domain.Suspend '{}'
is "$(property "$guest" Domain State)" "(<'paused'>,)"
call "$guest" org.warren1.Domain.Resume '{}'
is "$(path "$guest" org.warren1.Domain.Stop "{'graceful': <false>}")" /
is "$(path "$guest" org.warren1.Domain.Undefine '{}')" /
is "$(path "$network" org.warren1.Network.Stop '{}')" /
is "$(path "$network" org.warren1.Network.Undefine '{}')" /
call "$network" org.warren1.Network.Start "{'odd': <1>}" 2>&1 | grep -q UnknownObject
echo LIVED
