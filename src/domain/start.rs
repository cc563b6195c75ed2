//! The start of a guest, step by step.
//!
//! Owns the order: check, choose QEMU, networks, uid, open what the document names as its owner, NICs,
//! sockets, QEMU halted, its settings, then the CPUs. A step that fails, or a stop that comes in
//! between, gives back all that was acquired. Must never let QEMU open a path of the host by itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::commands::{DEADLINE, execute, execute_with};
use super::definition::Definition;
use super::demand::Demand;
use super::files::{OpenedFiles, open_files};
use super::guest::{Guest, Live, LiveDevice, definition_file, identity_file};
use super::nics::{self, NicDescriptor};
use super::{Context, Error, StartOptions, confine, consoles, displays, early, firmware, guest, remains};
use crate::desk::{Desk, off_thread};
use crate::model::{DiskFormat, DomainDef, Finding, IfName, Image, Severity};
use crate::plan::host::QemuFacts;
use crate::plan::qemu::{self, DisplayPlaces, FlashFd, Handed, ImageFd, NicFd};
use crate::plan::taps::{self, Naming};
use crate::scope::ScopeKind;
use crate::store::{StoreError, remove_live, write_live};
use crate::sys::copy;
use crate::sys::process::{Limit, Spawn, StderrTail, stderr_fifo};
use crate::sys::qmp::{Qmp, QmpEvent};
use crate::sys::{qemu_probe, systemd, unix};
use crate::uids::Purpose;

/// The first descriptor number that QEMU gets; below it are its standard streams.
const FIRST_FD: i32 = 10;

/// About how many bytes of a document one device is.
const DEVICE: usize = 128;

/// A guest that is up, and QEMU's events from now on.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) guest: Guest,
    pub(super) events: mpsc::Receiver<QmpEvent>,
}

/// Starts a guest, or leaves nothing behind. `cancelled` turning true ends the attempt.
pub(super) async fn start(
    context: Context,
    uuid: Uuid,
    definition: Definition,
    owner: u32,
    options: StartOptions,
    mut cancelled: watch::Receiver<bool>,
) -> Result<Started, Error> {
    let left = remains::clear(&context, &uuid).await;
    if !left.is_empty() {
        return Err(Error::Remains { name: definition.name().to_string(), left });
    }
    let mut guest = Guest::default();
    let result = tokio::select! {
        result = steps(&context, &uuid, definition, owner, options, &mut guest) => result,
        _ = cancelled.wait_for(|c| *c) => Err(Error::Cancelled),
    };
    match result {
        Ok(events) => Ok(Started { guest, events }),
        Err(e) => {
            for problem in guest.give_back(&context, &uuid).await {
                tracing::warn!(domain = %uuid, "while undoing a start that failed: {problem}");
            }
            Err(e)
        }
    }
}

async fn steps(
    context: &Context,
    uuid: &Uuid,
    definition: Definition,
    owner: u32,
    options: StartOptions,
    guest: &mut Guest,
) -> Result<mpsc::Receiver<QmpEvent>, Error> {
    let (def, judged) = read(&context.desk, &definition, owner).await?;
    let naming = naming(context, owner, options);
    refuse_names(context, &def, naming, owner)?;
    let mut qemu = choose_qemu(&def).await?;
    firmware::pin(context, uuid, &mut qemu)?;
    let qemu = Arc::new(qemu);
    refuse(&context.desk, &def, &qemu, judged, owner).await?;
    firmware::look(context, uuid, &def, &qemu, owner).await?;
    nics::ready_networks(context, &def, owner, options).await?;
    begin(context, uuid, definition, &def, owner, guest).await?;
    let opened = open_files(context, uuid, &def, &qemu, owner, guest).await?;
    // With them come the rules of the loopback, to which also what is connected for the guest is held.
    let places = displays::places(context, uuid, &def, guest).await?;
    let mut nic_descriptors = Vec::new();
    for nic in def.interfaces() {
        nic_descriptors.push(nics::prepare(context, uuid, &def, &qemu, nic, naming, guest).await?);
        guest.save(context, uuid)?;
    }
    let acquired = (opened, nic_descriptors, places);
    let settings = spawn_qemu(context, uuid, &def, &qemu, acquired, guest).await?;
    own_scope(context, uuid, guest).await;
    let events = greet(context, uuid, guest).await?;
    let settings = early::build_machine(settings, guest).await?;
    consoles::attach(context, uuid, &def, guest).await?;
    settle(&def, guest).await?;
    for (command, arguments) in settings {
        execute_with(monitor(guest)?, command, arguments).await?;
    }
    if !options.paused {
        execute(monitor(guest)?, "cont").await?;
    }
    guest.live.active = true;
    guest.live.made.clear();
    guest.save(context, uuid)?;
    Ok(events)
}

/// Whose names they are is what counts, not who starts the guest, unless that is somebody with more rights.
fn naming(context: &Context, owner: u32, options: StartOptions) -> Naming {
    let free = owner == 0 || context.scope.kind == ScopeKind::Session;
    if free { Naming::Free } else { options.naming }
}

fn refuse_names(context: &Context, def: &DomainDef, naming: Naming, owner: u32) -> Result<(), Error> {
    let taken = |name: &IfName| context.names.kept_from_tap(name.as_str(), owner);
    let mut findings = taps::findings(def, naming, taken);
    findings.retain(|f| f.severity == Severity::Error);
    if findings.is_empty() { Ok(()) } else { Err(config(def, findings)) }
}

/// What the definition means, and what there is to say of it.
async fn read(
    desk: &Desk,
    definition: &Definition,
    owner: u32,
) -> Result<(Arc<DomainDef>, Vec<Finding>), Error> {
    let (definition, bytes) = (definition.clone(), definition.bytes());
    let read = move || {
        let doc = definition.doc()?;
        let judged = crate::plan::check::domain(&doc);
        Ok((Arc::new(doc.into_def()), judged))
    };
    desk.run(owner, bytes, read).await
}

/// Everything that cannot be run is told at once, before anything is acquired.
async fn refuse(
    desk: &Desk,
    def: &Arc<DomainDef>,
    qemu: &Arc<QemuFacts>,
    mut findings: Vec<Finding>,
    owner: u32,
) -> Result<(), Error> {
    let _turn = desk.turn(owner).await;
    let planned = look(desk, def.clone(), qemu.clone()).await;
    crate::plan::check::add_news(&mut findings, planned.findings);
    findings.retain(|f| f.severity != Severity::Warning);
    if findings.is_empty() {
        return Ok(());
    }
    let name = def.name.to_string();
    Err(if findings.iter().any(|f| f.severity == Severity::Error) {
        Error::Config { name, findings }
    } else {
        Error::NotSupported { name, findings }
    })
}

fn config(def: &DomainDef, findings: Vec<Finding>) -> Error {
    Error::Config { name: def.name.to_string(), findings }
}

/// The QEMU that runs this definition, among those installed and the one the document names.
pub(crate) async fn choose_qemu(def: &DomainDef) -> Result<QemuFacts, Error> {
    let mut found = qemu_probe::probe_all().await;
    if let Some(path) = &def.emulator
        && !found.iter().any(|q| q.path == *path)
    {
        match qemu_probe::probe(path).await {
            Ok(facts) => found.push(facts),
            Err(e) => {
                tracing::info!("'{}' is not a QEMU that can be used: {}", path.display(), crate::chain(&e));
            }
        }
    }
    qemu::choose(def, &found).cloned().map_err(|finding| config(def, vec![finding]))
}

/// The owner's share, the runtime directory and the uid; from here on there is something to give back.
async fn begin(
    context: &Context,
    uuid: &Uuid,
    definition: Definition,
    def: &DomainDef,
    owner: u32,
    guest: &mut Guest,
) -> Result<(), Error> {
    guest.live.owner = Some(owner);
    guest.take_demand(context, def)?;
    let dir = context.scope.domain_run_dir(uuid);
    // A start that is cut off here waits for it before it gives back.
    let at_work = guest.at_work.clone().lock_owned().await;
    off_thread(move || {
        let _at_work = at_work;
        remove_live(&dir)?;
        unix::make_dir(&dir, 0o700).map_err(|source| StoreError::Write { path: dir.clone(), source })?;
        write_live(&definition_file(&dir), definition.xml().as_bytes())
    })
    .await?;
    guest.live = Live {
        boot_id: context.boot_id.to_string(),
        name: def.name.to_string(),
        owner: Some(owner),
        ..Live::default()
    };
    guest.live.uid = context.uids.take(Purpose::Guest)?;
    Ok(guest.save(context, uuid)?)
}

/// Gives each descriptor a number in QEMU.
struct Numbering {
    next: i32,
    fds: Vec<(OwnedFd, i32)>,
}

impl Numbering {
    fn give(&mut self, fd: OwnedFd) -> i32 {
        let number = self.next;
        self.next += 1;
        self.fds.push((fd, number));
        number
    }
}

/// Starts QEMU, and answers what it is to be told once it is up.
async fn spawn_qemu(
    context: &Context,
    uuid: &Uuid,
    def: &Arc<DomainDef>,
    qemu: &Arc<QemuFacts>,
    (opened, nics, displays): (OpenedFiles, Vec<NicDescriptor>, DisplayPlaces),
    guest: &mut Guest,
) -> Result<early::Settings, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    let mut numbers = Numbering { next: FIRST_FD, fds: Vec::new() };
    let qmp = numbers.give(unix::listen(&dir, "qmp.sock").map_err(Error::Run)?);
    let sockets = consoles::listen(&dir, def)?;
    let chars = sockets.into_iter().map(|(path, fd)| (path, numbers.give(fd))).collect();
    let display_dir = displays::place(&dir, def, guest)?.map(|fd| numbers.give(fd));
    let nics = nics.into_iter().map(|nic| match nic {
        NicDescriptor::None => NicFd::None,
        NicDescriptor::Tap { queues, vhost } => {
            let mut give = |fds: Vec<OwnedFd>| fds.into_iter().map(|fd| numbers.give(fd)).collect();
            NicFd::Tap { queues: give(queues), vhost: give(vhost) }
        }
        NicDescriptor::Client(fd) => NicFd::Client(numbers.give(fd)),
    });
    let nics = nics.collect();
    let mut set = 0;
    let mut disks = Vec::new();
    for (chain, disk) in opened.disks.into_iter().zip(def.disks()) {
        let formats = disk.source.iter().flat_map(Image::chain);
        let mut formats = formats.filter(|i| i.location.opened().is_some()).map(|i| i.format);
        let mut images = Vec::new();
        for image in chain {
            set += 1;
            // Below what the document names, the image above has said what this one is.
            let said = if image.qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw };
            let format = formats.next().unwrap_or(said);
            let (readonly, block) = (image.readonly, image.block);
            images.push(ImageFd { fd: numbers.give(image.fd), set, format, readonly, block });
        }
        disks.push(images);
    }
    let rules = confine::rules(context, &dir, def, qemu, guest.live.uid, &opened.filesystems)
        .await
        .map_err(Error::Run)?;
    let filesystems = opened.filesystems.into_iter().map(|dir| dir.map(|fd| numbers.give(fd))).collect();
    let mut flash = |fd: OwnedFd| {
        set += 1;
        FlashFd { fd: numbers.give(fd), set }
    };
    guest.live.firmware = opened.firmware.told;
    let code = opened.firmware.code.map(&mut flash);
    let vars = opened.firmware.vars.map(&mut flash);
    let kernel = opened.kernel.map(|fd| numbers.give(fd));
    let initrd = opened.initrd.map(|fd| numbers.give(fd));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(0);
    let handed = Handed {
        qmp,
        chars,
        display_dir,
        displays,
        nics,
        disks,
        filesystems,
        code,
        vars,
        kernel,
        initrd,
        next: numbers.next,
        now,
        // A start with <vsock> is refused.
        vsock: None,
    };
    let (meant, with, id) = (def.clone(), qemu.clone(), *uuid);
    let planned = context.desk.run_own(size(def), move || qemu::plan(&meant, &id, &with, &handed)).await;
    if !planned.findings.is_empty() {
        return Err(config(def, planned.findings));
    }
    let place = |pci: crate::model::PciAddress| (pci.bus, pci.slot, pci.function);
    let assigned = planned.assigned.into_iter();
    guest.live.devices =
        assigned.map(|a| LiveDevice { path: a.path, alias: a.alias, pci: a.pci.map(place) }).collect();
    let (read_end, write_end) = stderr_fifo(&guest::stderr_fifo(&dir)).map_err(Error::Run)?;
    // A start that is cut off waits until QEMU is there, and can be ended, or is not to come.
    let at_work = guest.at_work.clone().lock_owned().await;
    let mut spawn = Spawn::lasting(&qemu.path, identity_file(&dir))
        .hold(at_work)
        .args(planned.argv)
        .run_as(guest.live.uid.map(|uid| context.scope.guest_user(uid)))
        .no_privileges()
        .landlock(rules)
        .stderr(write_end);
    if guest.live.uid.is_some() {
        // It has the uid to itself; otherwise the user's other processes would count.
        spawn = spawn.limit(Limit::Threads, Demand::of(def).threads);
    }
    if let Some((name, value)) = confine::env(def, guest.live.uid) {
        spawn = spawn.env(name, value);
    }
    for (name, value) in &def.direct.env {
        spawn = spawn.env(name, value);
    }
    for file in &planned.sealed {
        let content = copy::sealed_text(&file.content).map_err(Error::Run)?;
        numbers.fds.push((content.into(), file.fd));
    }
    for (fd, number) in numbers.fds {
        spawn = spawn.fd(fd, number);
    }
    guest.options = Some(planned.options);
    guest.process = Some(spawn.spawn().await?);
    guest.stderr = Some(StderrTail::start(read_end, format!("QEMU of '{}'", def.name)));
    Ok(planned.settings)
}

/// Where systemd runs, the guest leaves the service's control group.
async fn own_scope(context: &Context, uuid: &Uuid, guest: &Guest) {
    let Some(process) = guest.process.as_ref().filter(|_| systemd::is_running()) else { return };
    let system = context.scope.kind == ScopeKind::System;
    let pid = process.identity().pid.unsigned_abs();
    if let Err(e) = systemd::give_scope(system, uuid, &guest.live.name, pid).await {
        tracing::warn!(domain = %guest.live.name, "the guest stays in the service's scope: {}", crate::chain(&e));
    }
}

/// Connects to QEMU's monitor; tells QEMU's own words if it ends instead.
async fn greet(context: &Context, uuid: &Uuid, guest: &mut Guest) -> Result<mpsc::Receiver<QmpEvent>, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    let Some(process) = guest.process.clone() else { return Err(Error::NoMonitor) };
    let greeting = connect_monitor(&dir);
    let result = tokio::select! {
        result = greeting => result,
        _ = process.exited() => Err(Error::NoMonitor),
    };
    match result {
        Ok((qmp, events)) => {
            guest.qmp = Some(qmp);
            Ok(events)
        }
        Err(e) => Err(early::last_words(guest, e).await),
    }
}

/// The monitor of the QEMU whose runtime directory this is.
pub(super) async fn connect_monitor(dir: &std::path::Path) -> Result<(Qmp, mpsc::Receiver<QmpEvent>), Error> {
    let stream = unix::connect(dir, "qmp.sock").await.map_err(Error::Run)?;
    let greeting = Qmp::connect(stream, DEADLINE).await;
    greeting.map_err(|source| Error::Qmp { command: "qmp_capabilities", source })
}

pub(super) fn monitor(guest: &Guest) -> Result<&Qmp, Error> {
    guest.qmp.as_ref().ok_or(Error::NoMonitor)
}

/// What is set by QMP before the CPUs run: cables that are pulled out, and what displays need.
async fn settle(def: &DomainDef, guest: &mut Guest) -> Result<(), Error> {
    for (index, _) in def.interfaces().enumerate().filter(|(_, nic)| !nic.link_up) {
        let arguments = serde_json::json!({ "name": qemu::nic_alias(def, index), "up": false });
        execute_with(monitor(guest)?, "set_link", arguments).await?;
    }
    let qmp = monitor(guest)?.clone();
    displays::settle(def, &qmp, guest).await
}

/// How much work a definition is, as if it were a document.
fn size(def: &DomainDef) -> usize {
    def.devices.len() * DEVICE
}

/// What a start would run with that QEMU.
async fn look(desk: &Desk, def: Arc<DomainDef>, qemu: Arc<QemuFacts>) -> qemu::Planned {
    desk.run_own(size(&def), move || {
        let handed = Handed::for_a_look(&def, FIRST_FD, qemu.vhost_net);
        qemu::plan(&def, &def.uuid.unwrap_or_default(), &qemu, &handed)
    })
    .await
}

/// The program and the arguments that a start would run, for a look, and what stands against it.
pub async fn planned(desk: &Desk, def: Arc<DomainDef>) -> Result<qemu::Planned, Error> {
    let qemu = Arc::new(choose_qemu(&def).await?);
    let mut planned = look(desk, def, qemu.clone()).await;
    planned.argv.insert(0, qemu.path.display().to_string());
    Ok(planned)
}
