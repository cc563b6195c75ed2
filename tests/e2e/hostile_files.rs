//! Files that a user names in order to stop the service, to fill its memory or the host's disk.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

use crate::callers::People;
use crate::common::{ALICE, CAROL, Client, Object, World, assert_error, eventually, world};

const STATE: &str = "/run/w/warren-0/state";

/// How long another user may wait, on a machine that has other things to do. Reading such a file takes far longer.
const WAITS: Duration = Duration::from_secs(3);

/// A guest that boots nothing, with this in `<os>`, this machine and these devices.
fn guest(name: &str, machine: &str, os: &str, devices: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>{os}
         <features><acpi/></features><devices>{devices}</devices></domain>",
        os = os.replace("TYPE", &format!("<type arch='x86_64' machine='{machine}'>hvm</type>"))
    )
}

/// UEFI whose variables the service keeps, made of the firmware's own template.
fn uefi(name: &str, devices: &str) -> String {
    let os = "<os firmware='efi'>TYPE<firmware><feature name='secure-boot' enabled='no'/></firmware></os>";
    guest(name, "q35", os, devices)
}

/// What there is in STATE beside definitions.
fn kept(world: &World) -> String {
    world.sh(&format!("find {STATE}/domains -mindepth 1 -not -name '*.xml'"))
}

/// Asks again and again, until it is dropped; the longest that an answer took.
async fn keep_asking(client: &Client, longest: &Cell<Duration>) {
    loop {
        let before = Instant::now();
        client.manager_property("Version").await;
        longest.set(longest.get().max(before.elapsed()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_file_of_any_size_stops_nobody_else() {
    world(async |world: World| {
        let people = People::new(&world).await;
        world.user_dir("mine", ALICE.uid);
        world.sh(&format!(
            "cd /run/w/mine && truncate -s 1000M huge && truncate -s 3000M initrd && truncate -s 4M code
             truncate -s 60M template && chown {uid}:{uid} *",
            uid = ALICE.uid
        ));
        let huge = "/run/w/mine/huge";
        let flash = "<loader readonly='yes' type='pflash'>/run/w/mine/code</loader>";
        let small = "<nvram template='/run/w/mine/code'/>";
        let (large, mebibytes) = ("has 1048576000 bytes", |n: u64| (n << 20).to_string());
        let firmware = [large, &mebibytes(64), "'firmware-bytes'"];
        let documents = [
            ("rom", "pc", format!("<os>TYPE<loader type='rom'>{huge}</loader></os>"), firmware),
            (
                "code",
                "q35",
                format!("<os>TYPE<loader readonly='yes' type='pflash'>{huge}</loader>{small}</os>"),
                firmware,
            ),
            ("template", "q35", format!("<os>TYPE{flash}<nvram template='{huge}'/></os>"), firmware),
            ("nvram", "q35", format!("<os>TYPE{flash}<nvram>{huge}</nvram></os>"), firmware),
            (
                "kernel",
                "pc",
                format!("<os>TYPE<kernel>{huge}</kernel></os>"),
                [large, &mebibytes(256), "'kernel-bytes'"],
            ),
            (
                "initrd",
                "pc",
                "<os>TYPE<kernel>/run/w/mine/code</kernel><initrd>/run/w/mine/initrd</initrd></os>".into(),
                ["has 3145728000 bytes", &mebibytes(2048), "'initrd-bytes'"],
            ),
        ];
        let longest = Cell::new(Duration::ZERO);
        let starts = async {
            for (name, machine, os, words) in &documents {
                let guest = people.owner.define_domain(&guest(name, machine, os, "")).await.expect(name);
                assert_error(guest.act("Start").await, "LimitExceeded", words);
                assert_eq!(kept(&world), "", "{name}: a failed start leaves nothing");
            }
            // Copied, and then a disk is not there.
            let disk = "<disk type='file'><source file='/run/w/mine/none'/><target dev='vda'/></disk>";
            let os = format!("<os>TYPE{flash}<nvram template='/run/w/mine/template'/></os>");
            let guest =
                people.owner.define_domain(&guest("later", "q35", &os, disk)).await.expect("a document");
            assert_error(guest.act("Start").await, "BackendFailed", &["/run/w/mine/none"]);
            assert_eq!(kept(&world), "", "what the start has made is removed");
        };
        tokio::select! {
            () = starts => {}
            () = keep_asking(&people.other, &longest) => {}
        }
        assert!(longest.get() < WAITS, "another user waited for {:?}", longest.get());
        eventually("no process that opens files stays", Duration::from_secs(20), async || {
            (world.sh("pgrep -f 'open-image[s]' || true").is_empty()).then_some(())
        })
        .await;
    });
}

async fn start_paused(guest: &Object) -> Result<(), zbus::Error> {
    guest.ask_with::<zbus::OwnedObjectPath>("Start", [("paused", true.into())].into()).await.map(drop)
}

#[test]
fn what_is_kept_for_a_user_is_counted_as_long_as_it_is_there() {
    world(async |world: World| {
        world.sh("mkdir -p /run/w/warren-0/config");
        // Variables of OVMF are half a MiB.
        world.write("warren-0/config/warrend.toml", "[limits]\nstored-bytes = 1000000\n");
        let mut people = People::new(&world).await;
        let define =
            async |name| people.owner.define_domain(&uefi(name, "")).await.expect("a valid document");
        let (first, second) = (define("first").await, define("second").await);
        start_paused(&first).await.expect("it has room");
        let beyond = ["uid 61001", "'stored-bytes'", "1000000"];
        assert_error(start_paused(&second).await, "LimitExceeded", &beyond);
        let vars = kept(&world);
        assert_eq!(
            vars.lines().filter(|l| l.ends_with("VARS") || l.ends_with("FIRMWARE")).count(),
            2,
            "{vars}"
        );
        first.stop().await;
        // Neither a stop, nor a new definition, nor a new service makes it less.
        define("first").await;
        people.daemon.kill_and_restart(&world, &people.owner).await;
        assert_error(start_paused(&second).await, "LimitExceeded", &beyond);
        assert_eq!(kept(&world), vars);
        // A start that fails later keeps what an earlier one has made.
        let disk = "<disk type='file'><source file='/run/w/none'/><target dev='vda'/></disk>";
        people.owner.define_domain(&uefi("first", disk)).await.expect("a valid document");
        assert_error(start_paused(&first).await, "BackendFailed", &["/run/w/none"]);
        assert_eq!(kept(&world), vars);
        first.undefine().await;
        assert_eq!(kept(&world), "");
        eventually("there is room again", Duration::from_secs(5), async || start_paused(&second).await.ok())
            .await;
    });
}

/// A server that accepts nobody, and has as many waiting as may: who connects waits.
fn deaf(path: &str) -> (OwnedFd, UnixStream) {
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket can be made");
    bind(&listener, &SocketAddrUnix::new(path).expect("a short path")).expect("the path is free");
    listen(&listener, 0).expect("it can listen");
    (listener, UnixStream::connect(path).expect("one may wait"))
}

#[test]
fn a_start_that_is_cut_off_leaves_nothing() {
    world(async |world: World| {
        let mut people = People::new(&world).await;
        world.user_dir("mine", CAROL.uid);
        let _deaf = deaf("/run/w/mine/deaf");
        world.sh("chmod 777 /run/w/mine/deaf");
        let disk =
            "<disk type='network'><source protocol='nbd'><host transport='unix' socket='/run/w/mine/deaf'/>
                    </source><target dev='vda'/></disk>";
        let guest = people.ruled.define_domain(&uefi("slow", disk)).await.expect("a valid document");
        let made = async || {
            eventually("its variables are made", Duration::from_secs(20), async || {
                kept(&world).contains("VARS").then_some(())
            })
            .await;
        };
        // By a stop, which does not wait until the server's time is up.
        let stop = async {
            made().await;
            let before = Instant::now();
            guest.stop().await;
            assert!(before.elapsed() < Duration::from_secs(5), "the stop took {:?}", before.elapsed());
        };
        let (start, ()) = tokio::join!(guest.act("Start"), stop);
        assert_error(start, "Cancelled", &[]);
        assert_eq!(kept(&world), "");
        let openers = || world.sh("pgrep -f 'open-image[s]' || true");
        eventually("the opener is gone", Duration::from_secs(5), async || openers().is_empty().then_some(()))
            .await;
        // By the service's own end.
        tokio::select! {
            start = guest.act("Start") => panic!("nobody accepts the opener: {start:?}"),
            () = made() => {}
        }
        people.daemon.kill_and_restart(&world, &people.ruled).await;
        assert_eq!(kept(&world), "");
        assert_eq!(openers(), "");
        assert_eq!(guest.state().await, "shutoff");
    });
}
