//! Whose rights open what a document names: each way in, by each place that can name something of the host, by the
//! owner of the domain, by another user who manages domains, and by root.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use warren::model::{DomainDoc, NetworkDoc};
use warren::plan::privileges::{PathField, Rights, fields_of_domain, fields_of_network};
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::common::{
    ALICE, BOB, Bus, CAROL, Client, Daemon, Object, Options, Polkit, World, assert_error, error_name, world,
};
use crate::whose_rights_table::{CODE, Opened, Part, document, opened, overlay, part};

/// Bob manages what is not his, and has no `host-access`; of one network it takes a while to say so. Carol manages
/// what is not hers too, and has `host-access` to what is Alice's.
const RULES: &str = r#"
polkit.addRule(function(action, subject) {
    var own = ["org.warren1.domain.manage-own", "org.warren1.network.use"];
    var all = ["org.warren1.domain.manage", "org.warren1.network.manage", "org.warren1.network.use-any"];
    if (own.indexOf(action.id) >= 0) return polkit.Result.YES;
    if (subject.user == "warren-carol") {
        var hers = action.lookup("owner") == "61001" && action.lookup("place") == "/domain/devices/disk";
        if (action.id == "org.warren1.domain.manage" || (action.id == "org.warren1.host-access" && hers))
            return polkit.Result.YES;
    }
    if (all.indexOf(action.id) < 0 || subject.user != "warren-bob") return polkit.Result.NOT_HANDLED;
    if (action.lookup("name") == "slow") polkit.spawn(["sleep", "2"]);
    return polkit.Result.YES;
});
"#;

const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
const ROOT: &str = "/org/warren1";
/// A file of each user, 0600, in a directory that everybody may enter.
const ROOTS: &str = "/run/w/of-root";
const BOBS: &str = "/run/w/of-bob";
const ALICES: &str = "/run/w/of-alice";

/// The UUIDs of the domains of Alice and of root.
const HERS: &str = "11111111-0c51-4a8e-9d0b-5d1f6c7a2b11";
const OF_ROOT: &str = "22222222-0c51-4a8e-9d0b-5d1f6c7a2b22";

struct People {
    _polkit: Polkit,
    _daemon: Daemon,
    root: Client,
    owner: Client,
    manager: Client,
    ruled: Client,
}

impl People {
    async fn new(world: &World) -> Self {
        for (path, uid) in [(ROOTS, 0), (BOBS, BOB.uid), (ALICES, ALICE.uid)] {
            world.sh(&format!(
                "head -c 65536 /dev/urandom >{path} && chmod 600 {path} && chown {uid}:{uid} {path}"
            ));
        }
        let overlay = overlay();
        world.sh(&format!(
            "qemu-img create -q -f qcow2 {overlay} 64k && chmod 600 {overlay} && chown {uid}:{uid} {overlay}",
            uid = ALICE.uid
        ));
        let bus = Bus::system(world);
        Self {
            _polkit: Polkit::start(world, &bus, RULES).await,
            _daemon: Daemon::system(world, &bus).await,
            root: bus.connect(0).await,
            owner: bus.connect(ALICE.uid).await,
            manager: bus.connect(BOB.uid).await,
            ruled: bus.connect(CAROL.uid).await,
        }
    }
}

/// The place that a part is told by.
fn place(field: PathField, xml: &str) -> String {
    let doc = DomainDoc::parse(xml).unwrap_or_else(|e| panic!("{field:?}: a valid document: {e}"));
    let named = fields_of_domain(doc.def(), &[]).into_iter().find(|(f, _)| *f == field);
    named.unwrap_or_else(|| panic!("the row of {field:?} has that place: {xml}")).1
}

/// It is refused for want of `host-access`, and the message has these words.
fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, zbus::Error>, words: &[&str]) {
    let error = match answer {
        Ok(done) => panic!("{what} is refused, and it was done: {done:?}"),
        Err(error) => error,
    };
    assert_eq!(error_name(&error), ASK, "{what}: {error}");
    for word in words.iter().chain(&["org.warren1.host-access"]) {
        assert!(error.to_string().contains(word), "{what}: the refusal tells '{word}': {error}");
    }
}

async fn check(client: &Client, xml: &str) -> Result<HashMap<String, OwnedVariant>, zbus::Error> {
    client.call(ROOT, "org.warren1.Manager.CheckDomain", &(xml, Options::new())).await
}

async fn define(client: &Client, what: &str, xml: &str) -> Object {
    client.define_domain(xml).await.unwrap_or_else(|e| panic!("{what} is taken: {e}\n{xml}"))
}

async fn generation(object: &Object) -> u64 {
    u64::try_from(object.property("Generation").await).expect("Generation is a t")
}

/// One place, by every way in that reads a document.
async fn try_field(people: &People, field: PathField, roots: &Object) {
    let of_owner = field.rights() == Rights::Owner;
    let (plain, mine) = (document(HERS, &[]), document(HERS, &[part(field, ALICES)]));
    let place = place(field, &mine);
    let label = |who: &str| format!("{field:?} by {who}");

    // The owner: a domain that is new, or a new definition of it.
    let answer = people.owner.define_domain(&mine).await;
    if of_owner {
        answer.unwrap_or_else(|e| panic!("{} is the owner's: {e}", label("the owner")));
    } else {
        refused(&label("the owner"), answer, &[&place]);
    }
    let hers = define(&people.root, &label("root"), &mine).await;

    // What is there may stay, in a document that changes something else.
    let kept = hers.seen_by(&people.manager).xml().await.replace("<vcpu>1", "<vcpu>2");
    assert!(kept.contains("<vcpu>2"), "{kept}");
    let answer = people.manager.define_domain(&kept).await;
    if of_owner {
        answer.unwrap_or_else(|e| panic!("{}: it is as it was: {e}", label("the manager")));
    } else {
        refused(&label("the manager, unchanged"), answer, &[&place]);
    }

    // What is not there is not added, neither to Alice's nor to root's.
    define(&people.root, "a plain domain", &plain).await;
    for (uuid, owner) in [(HERS, ALICE.uid), (OF_ROOT, 0)] {
        let theirs = document(uuid, &[part(field, ROOTS)]);
        let whose = format!("uid {owner}");
        let words = if of_owner { vec![place.as_str(), &whose] } else { vec![place.as_str()] };
        refused(&label("the manager"), people.manager.define_domain(&theirs).await, &words);
        let answer = check(&people.manager, &theirs).await;
        if field == PathField::Emulator {
            refused(&label("the manager's check"), answer, &words);
        } else {
            answer.unwrap_or_else(|e| panic!("{}: a check opens nothing: {e}", label("the manager")));
        }
    }
    assert_eq!(generation(roots).await, 1, "{field:?}: root's domain is as root left it");
}

async fn try_network_field(people: &People, field: PathField, inside: &str) {
    let xml = format!("<network><name>n</name>{inside}</network>");
    let doc = NetworkDoc::parse(&xml).unwrap_or_else(|e| panic!("{field:?}: a valid document: {e}"));
    let (found, place) = fields_of_network(doc.def()).pop().expect("the row has a place");
    assert_eq!(found, field);
    refused(
        &format!("{field:?} by who manages networks"),
        people.manager.define_network(&xml).await,
        &[&place],
    );
    people.root.define_network(&xml).await.unwrap_or_else(|e| panic!("root may name {field:?}: {e}"));
    // It is no more the manager's where it is there already.
    refused(&format!("{field:?}, unchanged"), people.manager.define_network(&xml).await, &[&place]);
}

/// Each change of a disk of root's that looks harmless, by who manages domains.
async fn try_changes(people: &People) {
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{ROOTS}'/>\
         <target dev='vda' bus='virtio'/><readonly/></disk>"
    );
    let uuid = OF_ROOT.replace('2', "3");
    let with = |text: &str| document(&uuid, &[Part::Device(text.to_owned())]);
    let domain = define(&people.root, "root's domain", &with(&disk)).await;
    let backing = format!(
        "<backingStore type='file'><format type='raw'/><source file='{BOBS}'/></backingStore><target"
    );
    for (from, to) in [
        (ROOTS, "/etc/shadow"),
        (ROOTS, ALICES),
        ("<readonly/>", ""),
        ("<readonly/>", "<readonly/><shareable/>"),
        ("type='raw'", "type='qcow2'"),
        ("'vda'", "'vdb'"),
        ("<target", backing.as_str()),
    ] {
        let changed = with(&disk.replace(from, to));
        let words = ["/domain/devices/disk", "uid 0", "leave it as it was"];
        refused(&format!("'{to}' for '{from}'"), people.manager.define_domain(&changed).await, &words);
    }
    let more = with(&format!("{disk}{}", disk.replace("'vda'", "'vdb'")));
    refused("a second time", people.manager.define_domain(&more).await, &["/domain/devices/disk[2]"]);
    assert_eq!(generation(&domain).await, 1);
    let moved = format!("<sound model='ich9'/>{disk}<interface type='user'/>");
    define(&people.manager, "what leaves the disk as it was", &with(&moved)).await;

    // The owner takes the disk away while the manager is asked about something else.
    people.root.define_network("<network><name>slow</name></network>").await.expect("root may define");
    let nic = format!("{disk}<interface type='network'><source network='slow'/></interface>");
    let nic = with(&nic);
    let by_manager = people.manager.define_domain(&nic);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        define(&people.root, "a domain without its disk", &with("")).await;
    };
    let (by_manager, ()) = tokio::join!(by_manager, meanwhile);
    assert_error(by_manager, "Conflict", &[]);
    assert!(!domain.xml().await.contains(ROOTS), "the disk is not back");
}

/// A rule sees whose files a document would have opened.
async fn try_rule(people: &People) {
    let disk = |uuid| document(uuid, &[part(PathField::DiskFile, ROOTS)]);
    define(&people.ruled, "what a rule lets her do to Alice's domain", &disk(HERS)).await;
    refused("root's domain", people.ruled.define_domain(&disk(OF_ROOT)).await, &["uid 0"]);
    let Part::Device(lun) = part(PathField::DiskCommands, ROOTS) else { panic!("a disk is a device") };
    let own = document(&OF_ROOT.replace('2', "4"), &[Part::Device(lun)]);
    refused("a new domain, which is hers", people.ruled.define_domain(&own).await, &["/domain/devices/disk"]);
}

/// The ways in that this release does not have.
async fn try_ways_to_come(people: &People) {
    let plain = document(HERS, &[]);
    let hers = define(&people.owner, "a plain domain", &plain).await;
    let Part::Device(disk) = part(PathField::DiskFile, ROOTS) else { panic!("a disk is a device") };
    let file =
        || zbus::Fd::from(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").expect("it is there")));
    for (who, client) in
        [("the owner", &people.owner), ("the manager", &people.manager), ("root", &people.root)]
    {
        let transient: Options<'_> = [("transient", Variant::from(true))].into();
        let member = "org.warren1.Manager.DefineDomain";
        let answer = client.call::<_, OwnedObjectPath>(ROOT, member, &(plain.as_str(), transient)).await;
        assert_error(answer, "NotSupported", &["transient"]);
        for method in ["AttachDevice", "UpdateDevice"] {
            let (member, body) = (format!("org.warren1.Domain.{method}"), (disk.as_str(), Options::new()));
            let answer = client.call::<_, OwnedObjectPath>(hers.path.as_str(), &member, &body).await;
            assert_error(answer, "NotSupported", &["device"]);
        }
        let files: Options<'_> = [("files", Variant::from(vec![file()]))].into();
        let answer = hers.seen_by(client).ask_with::<OwnedObjectPath>("Start", files).await;
        // The bus lets no descriptor through.
        let denied = "org.freedesktop.DBus.Error.AccessDenied";
        assert_eq!(answer.map_err(|e| error_name(&e)), Err(denied.to_owned()), "{who}");
        assert_eq!(hers.state().await, "shutoff", "after what {who} has tried");
    }
}

#[test]
fn nobody_but_the_owner_names_what_the_owner_opens() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let roots = define(&people.root, "root's domain", &document(OF_ROOT, &[])).await;
        define(&people.owner, "Alice's domain", &document(HERS, &[])).await;
        for field in PathField::ALL {
            match part(*field, ALICES) {
                Part::Network(inside) => try_network_field(&people, *field, &inside).await,
                Part::Outer(_) | Part::Os(_) | Part::Device(_) => try_field(&people, *field, &roots).await,
            }
        }
        try_changes(&people).await;
        try_rule(&people).await;
        try_ways_to_come(&people).await;
    });
}

/// Starts a domain, with its CPUs halted: what is opened is open, and nothing runs that could change it.
async fn start_paused(domain: &Object) -> Result<(), zbus::Error> {
    domain.ask_with::<OwnedObjectPath>("Start", [("paused", Variant::from(true))].into()).await.map(drop)
}

/// Every descriptor of a process.
fn descriptors(pid: u32) -> Vec<PathBuf> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("QEMU runs");
    open.map(|fd| fd.expect("root may look").path()).collect()
}

/// QEMU has this very file open.
fn assert_open(pid: u32, path: &str) {
    let is = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let wanted = is(Path::new(path)).expect("the file is there");
    assert!(descriptors(pid).iter().any(|fd| is(fd) == Some(wanted)), "QEMU has {path} open");
}

/// QEMU has a file open that has the content of this one, and is not it.
fn assert_copied(pid: u32, path: &str) {
    let wanted = std::fs::read(path).expect("the file is there");
    let same = |fd: &PathBuf| {
        let regular = std::fs::metadata(fd).is_ok_and(|m| m.is_file() && m.len() == wanted.len() as u64);
        regular && std::fs::read(fd).is_ok_and(|content| content == wanted)
    };
    assert!(descriptors(pid).iter().any(same), "QEMU has the content of {path}");
}

/// A document of Alice's with all that can be open at once, and what is seen of it then.
fn all_at_once(world: &World) -> (String, Vec<String>, Vec<String>) {
    let home = format!("/run/w/home-{}", ALICE.name);
    world.sh(&format!(
        "cd {home} && cp /run/w/guest/kernel kernel && cp /run/w/guest/initrd initrd && cp {CODE} code
         cp /usr/share/OVMF/OVMF_VARS_4M.fd vars && cp /usr/share/OVMF/OVMF_VARS_4M.fd template
         cp /usr/share/seabios/bios-256k.bin bios && mkdir shared
         truncate -s 1M raw below iso deep && qemu-img create -q -f qcow2 -b {home}/deep -F raw top.qcow2
         qemu-img create -q -f qcow2 -b {home}/below -F raw chain.qcow2
         chown -R {uid}:{uid} . && chmod 600 kernel initrd code vars template bios raw below iso deep *.qcow2
         chmod 755 shared",
        uid = ALICE.uid
    ));
    let disk = |inside: &str, target: &str| {
        Part::Device(format!(
            "<disk type='file' device='disk'>{inside}<target dev='{target}' bus='virtio'/></disk>"
        ))
    };
    let parts = [
        Part::Os(format!(
            "<loader type='pflash' readonly='yes'>{home}/code</loader><nvram>{home}/vars</nvram>\
             <kernel>{home}/kernel</kernel><initrd>{home}/initrd</initrd>"
        )),
        disk(&format!("<source file='{home}/raw'/>"), "vda"),
        disk(&format!("<source file='{home}/iso'/><readonly/>"), "vdb"),
        disk(&format!("<driver type='qcow2'/><source file='{home}/top.qcow2'/>"), "vdc"),
        disk(
            &format!(
                "<driver type='qcow2'/><source file='{home}/chain.qcow2'/><backingStore type='file'>\
                 <format type='raw'/><source file='{home}/below'/><backingStore/></backingStore>"
            ),
            "vdd",
        ),
        part(PathField::Filesystem, &format!("{home}/shared")),
    ];
    let paths = |names: &[&str]| names.iter().map(|name| format!("{home}/{name}")).collect();
    let open = ["code", "vars", "raw", "iso", "top.qcow2", "deep", "chain.qcow2", "below", "shared"];
    (document(HERS, &parts), paths(&open), paths(&["kernel", "initrd"]))
}

/// Alice's domain runs with Alice's files, whoever starts it.
async fn try_guests(world: &World, people: &People) {
    let (xml, open, copied) = all_at_once(world);
    // For `<filesystem>`, into which the guest's own uid looks; the domain stays Alice's.
    define(&people.owner, "Alice's domain", &document(HERS, &[])).await;
    let hers = define(&people.root, "all at once", &xml).await;
    for client in [&people.owner, &people.manager, &people.root] {
        start_paused(&hers.seen_by(client)).await.expect("the domain starts");
        let pid = hers.pid().await;
        open.iter().for_each(|path| assert_open(pid, path));
        copied.iter().for_each(|path| assert_copied(pid, path));
        hers.stop().await;
    }
    let home = format!("/run/w/home-{}", ALICE.name);
    for (field, file) in [(PathField::Loader, "bios"), (PathField::NvramTemplate, "template")] {
        let file = format!("{home}/{file}");
        let hers = define(&people.owner, "her own file", &document(HERS, &[part(field, &file)])).await;
        start_paused(&hers.seen_by(&people.manager)).await.expect("the domain starts");
        assert_copied(hers.pid().await, &file);
        hers.stop().await;
    }
}

/// A document of Alice's that names a file of somebody else is refused at its start, whoever starts it.
async fn try_files_of_others(world: &World, people: &People, field: PathField) {
    let hers = format!("uid {} cannot open", ALICE.uid);
    for (owner, file, client) in [(0, ROOTS, &people.root), (BOB.uid, BOBS, &people.manager)] {
        let path = format!("{file}-{field:?}");
        world.sh(&match opened(field) {
            Opened::Node => format!("mknod {path} b 240 0"),
            Opened::Socket => {
                format!("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"{path}\")'")
            }
            _ if field == PathField::Filesystem => format!("mkdir {path}"),
            _ => format!("cp {file} {path}"),
        });
        let mode = if field == PathField::Filesystem { "700" } else { "600" };
        world.sh(&format!("chown {owner}:{owner} {path} && chmod {mode} {path}"));
        // Anew: variables that were kept need no template.
        define(&people.owner, "Alice's domain", &document(HERS, &[])).await.undefine().await;
        define(&people.owner, "Alice's domain", &document(HERS, &[])).await;
        let domain = define(&people.root, "somebody's file", &document(HERS, &[part(field, &path)])).await;
        let answer = start_paused(&domain.seen_by(client)).await;
        let error = answer.err().unwrap_or_else(|| panic!("{field:?}: a file of uid {owner} was opened"));
        for word in [hers.as_str(), &path, "Permission denied"] {
            assert!(error.to_string().contains(word), "{field:?}: the error tells '{word}': {error}");
        }
    }
}

/// Alice's own device and socket are opened as Alice.
async fn try_node_and_socket(world: &World, people: &People) {
    let node = "/run/w/node-of-alice";
    world.sh(&format!(
        "mknod {node} b 240 0 && chown {uid}:{uid} {node} && chmod 600 {node}",
        uid = ALICE.uid
    ));
    let hers =
        define(&people.owner, "her own node", &document(HERS, &[part(PathField::DiskBlock, node)])).await;
    let error = start_paused(&hers.seen_by(&people.root)).await.expect_err("there is no such device");
    let text = error.to_string();
    assert!(text.contains(node) && !text.contains("Permission denied"), "Alice may open it: {text}");

    let path = "/run/w/socket-of-alice";
    let socket = UnixListener::bind(path).expect("the world is new");
    world.sh(&format!("chown {uid}:{uid} {path} && chmod 600 {path}", uid = ALICE.uid));
    let peer = std::thread::spawn(move || {
        let (peer, _) = socket.accept().expect("somebody connects");
        rustix::net::sockopt::socket_peercred(&peer).expect("a peer has credentials").uid.as_raw()
    });
    let hers =
        define(&people.root, "her own socket", &document(HERS, &[part(PathField::DiskSocket, path)])).await;
    start_paused(&hers.seen_by(&people.manager)).await.expect_err("nobody serves a disk there");
    assert_eq!(peer.join().expect("the thread does not panic"), ALICE.uid, "the uid that connects");
}

#[test]
fn whoever_starts_a_domain_its_files_are_opened_as_the_owner() {
    world(async |world: World| {
        let people = People::new(&world).await;
        try_guests(&world, &people).await;
        for field in PathField::ALL {
            match opened(*field) {
                Opened::File | Opened::Content | Opened::Node | Opened::Socket => {
                    try_files_of_others(&world, &people, *field).await;
                }
                Opened::Nothing => {
                    let xml = document(HERS, &[part(*field, ALICES)]);
                    let hers = define(&people.owner, "her own file", &xml).await;
                    let answer = start_paused(&hers).await;
                    assert_error(answer, "NotSupported", &[place(*field, &xml).as_str()]);
                }
                Opened::Name | Opened::OnlyWithHostAccess => (),
            }
        }
        try_node_and_socket(&world, &people).await;
    });
}
