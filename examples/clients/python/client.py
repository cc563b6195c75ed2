#!/usr/bin/python3
"""A client of Warren: starts a network and a guest on it, waits for the guest's lease, stops both.

usage: client.py [--system] NETWORK.xml GUEST.xml    (documents as in examples/; needs python3-dbus, python3-gi)
"""
import sys
import time

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)   # Signals arrive while GLib's loop turns.
files = [word for word in sys.argv[1:] if word != "--system"]
bus = dbus.SystemBus() if "--system" in sys.argv else dbus.SessionBus()
NOTHING = dbus.Dictionary(signature="sv")               # Every method takes options; this is none of them.

def interface(path, name):
    return dbus.Interface(bus.get_object("org.warren1", path), name)

def get(path, kind, name):
    return interface(path, "org.freedesktop.DBus.Properties").Get("org.warren1." + kind, name)

def wait(condition, seconds=60):
    """Lets the loop turn until the condition holds."""
    end = time.monotonic() + seconds
    GLib.timeout_add(200, lambda: time.monotonic() < end)
    while not condition() and time.monotonic() < end:
        GLib.MainContext.default().iteration(True)

def finish(job):
    """A call that answers "/" is done; another path is the Job that goes on."""
    if job != "/":
        wait(lambda: get(job, "Job", "State") != "running")

manager = interface("/org/warren1", "org.warren1.Manager")  # The first call starts the service.
network_path = manager.DefineNetwork(open(files[0]).read(), NOTHING)
guest_path = manager.DefineDomain(open(files[1]).read(), NOTHING)
network = interface(network_path, "org.warren1.Network")
guest = interface(guest_path, "org.warren1.Domain")
for path, faces in interface("/org/warren1", "org.freedesktop.DBus.ObjectManager").GetManagedObjects().items():
    print(path, *[f"{p['Name']}, {p['State']}" for p in faces.values() if "Name" in p])

states, leases = [], []                                 # Listen first, then call: so nothing is missed.
guest.connect_to_signal("StateChanged", lambda new, old, reason: states.append((old, new, reason)))
network.connect_to_signal("LeaseAdded", leases.append)  # Leases are told only to callers that subscribe.
manager.Subscribe(["leases"], NOTHING)

finish(network.Start(NOTHING))
finish(guest.Start(NOTHING))
print(get(guest_path, "Domain", "Name"), "runs as process", get(guest_path, "Domain", "Pid"))
wait(lambda: leases)
for lease in network.GetLeases(NOTHING):
    print("lease:", lease["address"], lease["mac"])

finish(guest.Stop(NOTHING))
wait(lambda: states and states[-1][1] == "shutoff")
for old, new, reason in states:
    print(f"{old} -> {new} ({reason})")
finish(network.Stop(NOTHING))
finish(guest.Undefine(NOTHING))
