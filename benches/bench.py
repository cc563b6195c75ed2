#!/usr/bin/python3
"""Measures Warren's system service against other ways to the same end, and writes docs/performance.md.

usage: bench.py WARREND EMPTY-SERVICE ROUNDS    (called by scripts/bench.sh, in namespaces of its own, as root)

What is compared alternates within each round, so that a busy moment of the machine meets all alike. Owns
everything it starts: it dies with the namespaces. Must never touch the machine's own network or services.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

import dbus

WARREND, EMPTY, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIR = "/run/bench"
OBJECTS = 1000
CALLS = 200                     # of the quick methods, in each round
NOTHING = dbus.Dictionary(signature="sv")
PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER = "org.freedesktop.DBus.ObjectManager"
LIBVIRT_FILES = ["/usr/sbin/libvirtd", "/usr/sbin/virtlogd", "/usr/sbin/libvirt-dbus"]

# In milliseconds: measure -> way -> one number a round.
found = {}


def main():
    bus = start_bus()
    warren = Warren(bus)
    empty = Empty(bus)
    libvirt = Libvirt(bus) if all(os.path.exists(file) for file in LIBVIRT_FILES) else None
    if libvirt is None:
        print("NOT RUN: libvirt-dbus is not installed", flush=True)
    hands = Hands(warren)
    ways = [way for way in (warren, empty, hands, libvirt) if way]
    for way in ways:
        say(f"{way.name}: filling")
        way.fill(OBJECTS)
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        # Each measure by all ways, one after the other; who is first changes with the round.
        for measure in MEASURES:
            for way in ways[number % len(ways):] + ways[:number % len(ways)]:
                act = getattr(way, measure, None)
                if act:
                    act()
    write(libvirt is not None)


def say(text):
    print(text, flush=True)


def clock(measure, way, act, times=1):
    """Of several calls in a row the median counts, so that one that was held up does not."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        result = act()
        taken.append((time.perf_counter() - begin) * 1000)
    found.setdefault(measure, {}).setdefault(way.name, []).append(statistics.median(taken))
    return result


def start(*argv, **more):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **more)


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench: in {seconds} s, this did not happen: {what}")
        time.sleep(0.02)


# ---- the machine of the bench ------------------------------------------------------------------------

def start_bus():
    """A private system bus, with the real polkitd and Warren's own policy for it."""
    os.makedirs(f"{DIR}/actions")
    with open(f"{DIR}/bus.conf", "w") as file:
        file.write(f"""<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN'
            'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
            <busconfig><type>system</type><listen>unix:path={DIR}/bus</listen><auth>EXTERNAL</auth>
            <policy context='default'><allow user='*'/><allow own='*'/>
              <allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/></policy>
            <limit name='max_match_rules_per_connection'>20000</limit>
            <limit name='max_names_per_connection'>100</limit></busconfig>""")
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path={DIR}/bus"
    start("dbus-daemon", "--nofork", "--nosyslog", f"--config-file={DIR}/bus.conf", stderr=subprocess.DEVNULL)
    until("the bus listens", lambda: os.path.exists(f"{DIR}/bus"))
    bus = dbus.SystemBus()
    for directory in ("/usr/share/polkit-1/actions", f"{SOURCE}/policy"):
        for file in os.listdir(directory):
            if file.endswith(".policy"):
                shutil.copy(f"{directory}/{file}", f"{DIR}/actions")
    subprocess.run(["mount", "--bind", f"{DIR}/actions", "/usr/share/polkit-1/actions"], check=True)
    start("/usr/lib/polkit-1/polkitd", "--no-debug")
    until("polkitd is there", lambda: bus.name_has_owner("org.freedesktop.PolicyKit1"))
    return bus


def network_xml(name, number):
    return f"""<network><name>{name}</name><forward mode='nat'/>
        <ip address='192.168.{number}.1' netmask='255.255.255.0'><dhcp>
          <range start='192.168.{number}.2' end='192.168.{number}.254'/></dhcp></ip></network>"""


def domain_xml(name):
    """Without a disk and a NIC: what is measured is the way to QEMU, not the guest."""
    return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='pty'/></devices></domain>"""


class Service:
    """One on the bus, with as many objects as the others."""

    def call(self, path, interface, method, *args, signature=None):
        return self.bus.call_blocking(self.service, path, interface, method, signature, args, timeout=60)

    def get(self):
        clock("Get", self, lambda: self.call(self.object, PROPERTIES, "Get", self.face, self.key,
                                             signature="ss"), CALLS)

    def get_all(self):
        clock("GetAll", self, lambda: self.call(self.object, PROPERTIES, "GetAll", self.face,
                                                signature="s"), CALLS)

    def managed(self):
        objects = clock("GetManagedObjects", self, lambda: self.call(self.root, MANAGER, "GetManagedObjects",
                                                                     signature=""))
        assert len(objects) >= OBJECTS, len(objects)


class Empty(Service):
    name, service, root = "empty zbus service", "org.empty1", "/org/empty1"
    object, face, key = "/org/empty1/domain/7", "org.warren1.Domain", "State"

    def __init__(self, bus):
        self.bus = bus

    def fill(self, count):
        start(EMPTY, str(count))
        until("the empty service is there", lambda: self.bus.name_has_owner(self.service))


class Warren(Service):
    name, service, root = "Warren", "org.warren1", "/org/warren1"
    face, key = "org.warren1.Domain", "State"

    def __init__(self, bus):
        self.bus = bus
        places = {f"{name}_DIRECTORY": f"{DIR}/warren/{name}" for name in ("STATE", "RUNTIME", "CONFIGURATION")}
        for place in places.values():
            os.makedirs(place)
        os.chmod(f"{DIR}/warren", 0o755)
        log = open(f"{DIR}/warren.log", "w")
        start(WARREND, "--system", stderr=log, env={**os.environ, **places})
        until("Warren is there", lambda: bus.name_has_owner(self.service))
        self.network = self.define_one("Network", network_xml("bench", 200))

    def define_one(self, kind, xml):
        return self.call(self.root, "org.warren1.Manager", f"Define{kind}", xml, NOTHING, signature="sa{sv}")

    def check(self, kind, xml):
        return self.call(self.root, "org.warren1.Manager", f"Check{kind}", xml, NOTHING, signature="sa{sv}")

    def act(self, path, kind, method):
        job = self.call(path, f"org.warren1.{kind}", method, NOTHING, signature="a{sv}")
        assert job == "/", f"{method} took longer than a call may"

    def fill(self, count):
        for number in range(count):
            path = self.define_one("Domain", domain_xml(f"warren{number}"))
        self.object = path

    def define(self):
        path = clock("define a domain", self, lambda: self.define_one("Domain", domain_xml("another")))
        self.act(path, "Domain", "Undefine")
        path = clock("define a network", self, lambda: self.define_one("Network", network_xml("another", 201)))
        self.act(path, "Network", "Undefine")

    def run_network(self):
        clock("network start", self, lambda: self.act(self.network, "Network", "Start"))
        clock("network stop", self, lambda: self.act(self.network, "Network", "Stop"))

    def run_domain(self):
        clock("domain start", self, lambda: self.act(self.object, "Domain", "Start"))
        clock("domain stop", self, lambda: self.act(self.object, "Domain", "Stop"))


class Libvirt(Service):
    name, service = "libvirt", "org.libvirt"
    root, face, key = "/org/libvirt/QEMU", "org.libvirt.Domain", "Active"

    def __init__(self, bus):
        self.bus = bus
        for place in ("/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        shutil.copytree("/etc/libvirt", f"{DIR}/etc-libvirt")
        subprocess.run(["mount", "--bind", f"{DIR}/etc-libvirt", "/etc/libvirt"], check=True)
        for leftover in ("qemu/networks", "qemu/autostart"):
            shutil.rmtree(f"/etc/libvirt/{leftover}", ignore_errors=True)
        # No service manager made control groups for it here.
        with open("/etc/libvirt/qemu.conf", "a") as file:
            file.write("cgroup_controllers = [ ]\n")
        log = open(f"{DIR}/libvirt.log", "w")
        start("/usr/sbin/virtlogd", stderr=log)
        start("/usr/sbin/libvirtd", stderr=log)
        until("libvirtd listens", lambda: os.path.exists("/run/libvirt/libvirt-sock"))
        start("/usr/sbin/libvirt-dbus", "--system", stderr=log)
        until("libvirt-dbus is there", lambda: bus.name_has_owner(self.service))
        self.network = self.connect("NetworkDefineXML", network_xml("bench", 202))

    def connect(self, method, *args, signature="s"):
        return self.call(self.root, "org.libvirt.Connect", method, *args, signature=signature)

    def fill(self, count):
        for number in range(count):
            path = self.connect("DomainDefineXML", domain_xml(f"libvirt{number}"))
        self.object = path

    def managed(self):
        """It has no ObjectManager: the same is learned from a list, and a GetAll of each."""
        def all_objects():
            paths = self.connect("ListDomains", dbus.UInt32(0), signature="u")
            return {path: self.call(path, PROPERTIES, "GetAll", self.face, signature="s") for path in paths}
        assert len(clock("GetManagedObjects", self, all_objects)) >= OBJECTS

    def define(self):
        path = clock("define a domain", self, lambda: self.connect("DomainDefineXML", domain_xml("another")))
        self.call(path, "org.libvirt.Domain", "Undefine", dbus.UInt32(0), signature="u")
        path = clock("define a network", self, lambda: self.connect("NetworkDefineXML", network_xml("another", 203)))
        self.call(path, "org.libvirt.Network", "Undefine", signature="")

    def run_network(self):
        clock("network start", self, lambda: self.call(self.network, "org.libvirt.Network", "Create", signature=""))
        clock("network stop", self, lambda: self.call(self.network, "org.libvirt.Network", "Destroy", signature=""))

    def run_domain(self):
        zero = dbus.UInt32(0)
        clock("domain start", self, lambda: self.call(self.object, self.face, "Create", zero, signature="u"))
        clock("domain stop", self, lambda: self.call(self.object, self.face, "Destroy", zero, signature="u"))


class Hands:
    """The same dnsmasq, rules and QEMU that Warren would run, by the tools alone."""
    name = "by hand"

    def __init__(self, warren):
        self.warren = warren

    def fill(self, _count):
        report = self.warren.check("Network", network_xml("hands", 204))
        bridge = next(line.split("=")[1] for line in report["dnsmasq"].splitlines() if line.startswith("interface="))
        self.rules = report["ruleset"].replace(bridge, "hands0")
        self.table = next(line.split()[3] for line in self.rules.splitlines() if line.startswith("add table"))
        conf = report["dnsmasq"].replace(bridge, "hands0").replace("pid-file=", f"pid-file={DIR}/dnsmasq.pid")
        conf = conf.replace('dhcp-leasefile="leases"', f"dhcp-leasefile={DIR}/leases")
        conf = conf.replace("log-facility=-", f"log-facility={DIR}/dnsmasq.log")
        with open(f"{DIR}/dnsmasq.conf", "w") as file:
            file.write(conf)
        argv = self.warren.check("Domain", domain_xml("hands"))["argv"]
        self.argv = [str(word) for word in argv]

    def run_network(self):
        clock("network start", self, self.start_network)
        clock("network stop", self, self.stop_network)

    def start_network(self):
        run = lambda *argv, **more: subprocess.run(argv, check=True, **more)
        run("ip", "link", "add", "hands0", "type", "bridge")
        run("ip", "address", "add", "192.168.204.1/24", "dev", "hands0")
        run("ip", "link", "set", "hands0", "up")
        run("nft", "-f", "-", input=self.rules.encode())
        # It is in the background once it serves.
        run("dnsmasq", f"--conf-file={DIR}/dnsmasq.conf")

    def stop_network(self):
        with open(f"{DIR}/dnsmasq.pid") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGTERM)
        subprocess.run(["nft", "delete", "table", "inet", self.table], check=True)
        subprocess.run(["ip", "link", "delete", "hands0"], check=True)
        while os.path.exists(f"/proc/{pid}") and "dnsmasq" in open(f"/proc/{pid}/cmdline").read():
            time.sleep(0.001)

    def run_domain(self):
        clock("domain start", self, self.start_qemu)
        clock("domain stop", self, self.stop_qemu)

    def start_qemu(self):
        """Until QMP answers that the guest runs."""
        for number, name in ((10, "qmp"), (11, "serial")):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{DIR}/{name}.sock")
            listener.listen()
            os.dup2(listener.fileno(), number)
            listener.close()
        self.qemu = subprocess.Popen(self.argv, pass_fds=(10, 11), stdin=subprocess.DEVNULL)
        os.close(10)
        os.close(11)
        self.qmp = socket.socket(socket.AF_UNIX)
        self.qmp.connect(f"{DIR}/qmp.sock")
        self.answers = self.qmp.makefile("r")
        self.answers.readline()
        self.ask("qmp_capabilities")
        self.ask("cont")
        assert self.ask("query-status")["status"] == "running"

    def ask(self, command):
        self.qmp.sendall(json.dumps({"execute": command}).encode())
        while True:
            answer = json.loads(self.answers.readline())
            if "event" not in answer:
                return answer["return"]

    def stop_qemu(self):
        self.ask("quit")
        self.qemu.wait()
        self.answers.close()
        self.qmp.close()
        # QEMU may have removed them itself.
        for name in ("qmp", "serial"):
            pathlib.Path(f"{DIR}/{name}.sock").unlink(missing_ok=True)


MEASURES = ["get", "get_all", "managed", "define", "run_network", "run_domain"]


# ---- the page ----------------------------------------------------------------------------------------

def version(*argv):
    text = subprocess.run(argv, capture_output=True, text=True).stdout
    return text.splitlines()[0].strip() if text else "?"


def number(milliseconds):
    return f"{milliseconds:.3f}" if milliseconds < 1 else f"{milliseconds:.1f}"


def write(with_libvirt):
    with open("/proc/cpuinfo") as file:
        cpu = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    rows = []
    for measure, by_way in found.items():
        ours = statistics.median(by_way["Warren"])
        cells = []
        for way in ("empty zbus service", "by hand", "libvirt"):
            if way in by_way:
                theirs = statistics.median(by_way[way])
                cells.append(f"{number(theirs)} ({theirs / ours:.2f})")
            else:
                cells.append("–")
        spread = f"{number(min(by_way['Warren']))} to {number(max(by_way['Warren']))}"
        rows.append(f"| {measure} | {number(ours)} | {spread} | " + " | ".join(cells) + " |")
    kernel = os.uname().release.split("-")[0]
    facts = [f"{cpu}, {os.cpu_count()} cores; Linux {kernel}; guests under emulation (TCG)",
             version(WARREND, "--version"), version("qemu-system-x86_64", "--version"),
             version("dnsmasq", "--version").split("  ")[0], version("nft", "--version")]
    if with_libvirt:
        facts.append(f"libvirt {version('/usr/sbin/libvirtd', '--version').split()[-1]}")
    with open(f"{SOURCE}/benches/page.md") as file:
        page = file.read()
    page = page.replace("@ROUNDS@", str(ROUNDS)).replace("@FACTS@", "\n".join(f"- {fact}" for fact in facts))
    page = page.replace("@ROWS@", "\n".join(rows))
    if not with_libvirt:
        page += "\nNOT RUN: libvirt-dbus is not installed.\n"
    with open(f"{SOURCE}/docs/performance.md", "w") as file:
        file.write(page)
    say("\n".join(rows))


main()
