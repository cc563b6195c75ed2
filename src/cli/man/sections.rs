//! What the manual pages say beyond the parser's own words.

/// A term and what it means.
type Entry = (&'static str, &'static str);
/// A section's title and its entries.
type Section = (&'static str, &'static [Entry]);

const EXIT_STATUS: Section = (
    "EXIT STATUS",
    &[
        ("0", "Done."),
        ("1", "The service said no; its message is on standard error, with --json the error's name too."),
        ("2", "Wrong usage."),
        ("3", "The service cannot be reached, or gave no answer within 25 seconds."),
    ],
);

const ENVIRONMENT: Section = (
    "ENVIRONMENT",
    &[
        ("WARREN_SCOPE", "'system' or 'session', where no flag says which service is meant."),
        (
            "DBUS_SYSTEM_BUS_ADDRESS, DBUS_SESSION_BUS_ADDRESS",
            "The bus, where it is not at the usual place. They do not count with --host.",
        ),
        (
            "VISUAL, EDITOR",
            "The editor of 'edit', VISUAL first; it may have arguments. Without both it is vi.",
        ),
        ("TMPDIR", "Where 'edit' keeps the document that is edited; /tmp otherwise."),
        (
            "NO_COLOR",
            "Set to anything: no colours. Without it there are colours on a terminal, never elsewhere.",
        ),
    ],
);

const FILES: Section = (
    "FILES",
    &[
        (
            "/usr/share/bash-completion/completions/warrenctl, /usr/share/zsh/vendor-completions/_warrenctl, \
             /usr/share/fish/vendor_completions.d/warrenctl.fish",
            "Completion of verbs, options and the names of objects; made by 'warrenctl completions SHELL'.",
        ),
        ("$TMPDIR/warrenctl-*.xml", "What was written in 'edit' and not taken by the service."),
    ],
);

const JSON: Section = (
    "JSON",
    &[
        (
            "In general",
            "With --json every answer is one JSON value on standard output, of 'watch' one value a line. Keys are \
             in lower case with dashes; what stands here stays, and keys may be added. Properties of objects have \
             the names of the bus, as StateReason: state-reason.",
        ),
        ("list", "An array of objects, each with its properties, also with --names or --quiet."),
        (
            "show, define, edit",
            "The properties of one object; of a machine 'show' adds interfaces, disks, graphics and consoles, and \
             of both failure, where the caller may see them.",
        ),
        ("show --xml", "object, xml."),
        (
            "start, stop, undefine, shutdown, reboot, reset, suspend, resume, autostart, access, job cancel, job wait",
            "verb, object (its path on the bus), state: done; with --no-wait state may be running, and job is the \
             path of the job. 'start --wait-address' answers as 'addresses'. 'define --dry-run' has the state 'not done'.",
        ),
        (
            "check",
            "findings (each severity, path, line, column, message, remedy), and argv, options, qmp, dnsmasq, ruleset.",
        ),
        ("leases", "An array: address, prefix, mac, hostname, client-id, expires-usec, domain, interface."),
        (
            "addresses",
            "An array: address, prefix (where it is known), mac, interface, source (lease, arp or agent), stale.",
        ),
        ("display", "An array: type, uri."),
        ("status", "version, scope, features, warnings."),
        ("host", "cpus, memory-bytes, emulators, firmware, bridges, interfaces, firewall-backend, warnings."),
        ("permissions", "From each polkit action to yes, no or challenge."),
        ("job list", "An array: job (its path), operation, object, state, progress (0 to 1, -1 unknown)."),
        (
            "watch",
            "Each event: event, time-usec, object, and where known kind (network, machine, job), name and, of a job, \
             target. By event: added and changed have properties; state-changed has new, old, reason; completed has \
             state, error, message; lease-added and lease-removed have lease; addresses-changed has addresses; \
             device-added and device-removed have alias; service has runs; any other has arguments.",
        ),
        (
            "Errors",
            "An object on standard error: name (of the D-Bus error, or Usage, Unreachable, Local, JobFailed, \
             Timeout or Crashed), message, exit-status.",
        ),
        ("console, completions", "Are what they are, without JSON."),
    ],
);

const AUTHORISATION: Section = (
    "AUTHORISATION",
    &[(
        "Passwords",
        "What the system service does for others than root, polkit(8) decides. Where it wants a password, the \
         desktop's agent asks for it, else pkttyagent(1) at the terminal. Where neither standard input nor standard \
         error is a terminal, nobody is asked, and the answer is InteractiveAuthorizationRequired. With \
         --host nobody can be asked at this terminal. What would be asked for, 'permissions' tells.",
    )],
);

const HOSTS: Section = (
    "OTHER HOSTS",
    &[(
        "--host [USER@]HOST",
        "The bus of that host is reached as busctl(1) reaches it: by 'ssh -xT -- HOST systemd-stdio-bridge', \
         which is part of systemd. So ssh's configuration and keys count, and who may do what is decided \
         there about the user that ssh logs in as. Without a flag the system service is meant. File descriptors \
         do not pass over ssh, so there is no 'vm console' that way.",
    )],
);

/// The sections of a page.
pub(super) fn of(page: &str) -> Vec<Section> {
    match page {
        "warrenctl" => vec![EXIT_STATUS, JSON, AUTHORISATION, HOSTS, ENVIRONMENT, FILES],
        _ => vec![EXIT_STATUS],
    }
}

/// Page, command line, what it does.
pub(super) const EXAMPLES: &[(&str, &str, &str)] = &[
    ("warrenctl", "warrenctl vm define guest.xml --start", "Defines a machine and starts it."),
    ("warrenctl", "warrenctl --json vm list | jq -r '.[].pid'", "What a table does not show, for a script."),
    ("warrenctl", "warrenctl --host root@server vm list", "The machines of another host."),
    ("warrenctl-net-define", "warrenctl net define private.xml", "Defines a network, or replaces it."),
    (
        "warrenctl-net-define",
        "warrenctl net define --if-generation 3 private.xml",
        "Replaces it only if nobody has changed it since its generation was 3.",
    ),
    ("warrenctl-net-edit", "warrenctl net edit default", "Opens the document of a network in an editor."),
    ("warrenctl-net-start", "warrenctl net start default", "Starts a network."),
    ("warrenctl-net-stop", "warrenctl net stop --force default", "Stops it, though guests are on it."),
    ("warrenctl-net-undefine", "warrenctl net undefine private", "Forgets a network."),
    ("warrenctl-net-list", "warrenctl net list", "All networks."),
    (
        "warrenctl-net-list",
        "warrenctl net list --state active --names",
        "The names of those that are active.",
    ),
    ("warrenctl-net-show", "warrenctl net show --xml default > default.xml", "Keeps a document."),
    ("warrenctl-net-leases", "warrenctl net leases default", "Who has which address."),
    ("warrenctl-net-autostart", "warrenctl net autostart default", "Starts it at each boot from now on."),
    ("warrenctl-net-access", "warrenctl net access default users", "Lets every user put machines on it."),
    (
        "warrenctl-net-check",
        "warrenctl net check --plan private.xml",
        "What would be run, and what is wrong.",
    ),
    ("warrenctl-vm-define", "cat guest.xml | warrenctl vm define -", "Defines what comes from a pipe."),
    ("warrenctl-vm-define", "warrenctl vm define --dry-run guest.xml", "Says whether it would be taken."),
    ("warrenctl-vm-edit", "warrenctl vm edit guest", "Opens the document of a machine in an editor."),
    ("warrenctl-vm-start", "warrenctl vm start guest", "Starts a machine and waits until its CPUs run."),
    (
        "warrenctl-vm-start",
        "warrenctl vm start --wait-address guest",
        "Starts it, waits until it can be reached, and says where.",
    ),
    ("warrenctl-vm-start", "warrenctl vm start --no-wait guest", "Prints the job that starts it."),
    ("warrenctl-vm-stop", "warrenctl vm stop --graceful guest", "Switches it off once QEMU has written all."),
    ("warrenctl-vm-shutdown", "warrenctl vm shutdown guest", "Presses the power button, so to say."),
    (
        "warrenctl-vm-shutdown",
        "warrenctl vm shutdown --wait --timeout 60 guest",
        "Waits until it is off, a minute at most.",
    ),
    ("warrenctl-vm-reboot", "warrenctl vm reboot guest", "Asks the guest to reboot."),
    ("warrenctl-vm-reset", "warrenctl vm reset guest", "Does not ask."),
    ("warrenctl-vm-suspend", "warrenctl vm suspend guest", "Its CPUs stand still; its memory stays."),
    ("warrenctl-vm-resume", "warrenctl vm resume guest", "They go on."),
    ("warrenctl-vm-undefine", "warrenctl vm undefine guest", "Forgets a machine."),
    ("warrenctl-vm-list", "warrenctl vm list", "All machines."),
    ("warrenctl-vm-list", "warrenctl vm list --state running,paused", "Those that have memory."),
    (
        "warrenctl-vm-list",
        "warrenctl vm list -q --state running | xargs -n 1 -P 0 warrenctl vm shutdown --wait",
        "Shuts all down and waits for all of them.",
    ),
    ("warrenctl-vm-show", "warrenctl vm show guest", "Its properties, NICs, disks and displays."),
    ("warrenctl-vm-show", "warrenctl vm show --xml --live guest", "The document as it runs, with its TAPs."),
    ("warrenctl-vm-addresses", "warrenctl vm addresses guest", "Where it can be reached."),
    ("warrenctl-vm-display", "warrenctl vm display guest", "As vnc://127.0.0.1:0, for a viewer."),
    ("warrenctl-vm-autostart", "warrenctl vm autostart --disable guest", "No longer starts it at boot."),
    ("warrenctl-vm-console", "warrenctl vm console guest", "Its serial console; Ctrl-] leaves."),
    (
        "warrenctl-vm-console",
        "echo uptime | warrenctl vm console --idle 3 guest",
        "Types a line and listens.",
    ),
    ("warrenctl-vm-check", "warrenctl vm check guest.xml", "What is wrong with a document."),
    ("warrenctl-job-list", "warrenctl job list", "What goes on."),
    ("warrenctl-job-cancel", "warrenctl job cancel 3", "Asks that it be undone."),
    ("warrenctl-job-wait", "warrenctl job wait 3", "Ends when the job ends."),
    ("warrenctl-watch", "warrenctl watch", "What is public, of all objects."),
    ("warrenctl-watch", "warrenctl watch --vm guest | grep -m 1 crashed", "Waits until it crashes."),
    ("warrenctl-watch", "warrenctl --json watch --topics leases --net default", "Leases of one network too."),
    ("warrenctl-status", "warrenctl status", "What the service says of itself."),
    ("warrenctl-host", "warrenctl --json host", "CPUs, memory, emulators, for a script."),
    ("warrenctl-permissions", "warrenctl permissions --vm guest", "What one may do to a machine."),
    (
        "warrenctl-completions",
        "warrenctl completions bash > ~/.local/share/bash-completion/completions/warrenctl",
        "Completion for one user; a package has it for all.",
    ),
];
