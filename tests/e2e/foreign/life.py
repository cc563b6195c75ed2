"""The life of a guest, by python-dbus. Arguments: a network's document, a domain's."""

import os
import sys
import time

import dbus

bus = dbus.SessionBus()


def see(path, interface):
    return dbus.Interface(bus.get_object("org.warren1", path), "org.warren1." + interface)


def state(thing):
    interface = thing.dbus_interface
    return str(thing.Get(interface, "State", dbus_interface="org.freedesktop.DBus.Properties"))


def until(fd, mark):
    """Reads the console until `mark`; what came before it."""
    seen, end = b"", time.monotonic() + 120
    while mark not in seen:
        assert time.monotonic() < end, seen
        got = os.read(fd, 4096)
        assert got, seen
        seen += got.replace(b"\r", b"")
    return seen.decode()


manager = see("/org/warren1", "Manager")
network = see(manager.DefineNetwork(open(sys.argv[1]).read(), {}), "Network")
guest = see(manager.DefineDomain(open(sys.argv[2]).read(), {}), "Domain")
assert guest.Start({}) == "/" and state(guest) == "running" and state(network) == "active"

console = guest.OpenConsole({}).take()
until(console, b"READY")
os.write(console, b"T1 lease eth0\n")
address = until(console, b"DONE T1 0").split("LEASE eth0 ")[1].split("/")[0]
leases = network.GetLeases({})
assert [str(lease["address"]) for lease in leases] == [address], leases
assert leases[0]["domain"] == guest.object_path and leases[0]["interface"] == "net0", leases
assert [(str(a["address"]), str(a["source"])) for a in guest.GetAddresses({})] == [(address, "lease")]
os.close(console)

guest.Suspend({})
assert state(guest) == "paused"
guest.Resume({})
assert state(guest) == "running"
try:
    guest.Start({"forse": True})
except dbus.DBusException as e:
    assert e.get_dbus_name() == "org.warren1.Error.InvalidArgs" and "forse" in e.get_dbus_message(), e
else:
    raise AssertionError("an unknown option is refused")
job = guest.Stop({"no-wait": True})
while state(see(job, "Job")) == "running":
    time.sleep(0.05)
assert state(guest) == "shutoff"
guest.Undefine({})
network.Stop({})
network.Undefine({})
left = bus.get_object("org.warren1", "/org/warren1").GetManagedObjects(
    dbus_interface="org.freedesktop.DBus.ObjectManager"
)
assert not [path for path in left if guest.object_path == path or network.object_path == path], left
print("LIVED")
