//! A disk's medium: the images as block nodes from the lowest up, each an opened descriptor or a server on the
//! network, and what is put over them. The chain is explicit: QEMU never opens what an image names.

use serde_json::{Map, Value, json};

use super::disk_nodes::{self, Way};
use super::{ImageFd, Plan, disk, disk_network, finding, set};
use crate::model::{
    Backing, Cache, DetectZeroes, Discard, DiskDef, DiskFormat, Encryption, EncryptionEngine,
    EncryptionFormat, Image, Iotune, Location, Severity,
};

/// One image of a chain: what the document says of it, and what was opened.
struct Layer<'a> {
    image: Option<&'a Image>,
    fd: Option<&'a ImageFd>,
}

impl Layer<'_> {
    fn format(&self) -> DiskFormat {
        self.image.map(|i| i.format).or(self.fd.map(|f| f.format)).unwrap_or(DiskFormat::Raw)
    }
}

/// The block nodes of a disk; gives the name of the one that the drive `id` uses, if it uses one.
pub(super) fn medium(
    plan: &mut Plan<'_>,
    disk: &DiskDef,
    id: &str,
    index: usize,
    handed: &[ImageFd],
) -> Option<String> {
    if let Some(Location::VhostUser(source)) = disk.source.as_ref().map(|s| &s.location) {
        // The other process has the medium; the drive is joined to its socket.
        let reconnect = source.reconnect.map_or_else(String::new, |s| format!(",reconnect={s}"));
        let path = super::args::escaped(&source.path.display().to_string());
        plan.args.pair("-chardev", format!("socket,id={},path={path}{reconnect}", disk::chardev(id)));
        return None;
    }
    let layers = layers(disk, handed);
    let way = way(plan, &layers);
    let mut below: Option<String> = None;
    for (depth, layer) in layers.iter().enumerate().rev() {
        let name = format!("disk{index}-{depth}");
        let readonly = depth > 0 || disk.readonly || layer.fd.is_some_and(|f| f.readonly);
        let storage = storage(plan, disk, layer, &name, readonly);
        below = Some(format_node(plan, disk, layer, &name, readonly, storage, below.take(), depth == 0));
    }
    if let Some(top) = below {
        filters(plan, disk, index, top);
    }
    let nodes = std::mem::take(&mut plan.nodes);
    disk_nodes::give(plan, disk, way, nodes)
}

/// Where a server is, and what is read there, is nothing for everybody's eyes.
fn way(plan: &Plan<'_>, layers: &[Layer<'_>]) -> Way {
    let servers =
        || layers.iter().filter(|l| l.image.is_some_and(|i| matches!(i.location, Location::Network(_))));
    match (servers().next(), servers().any(|l| l.fd.is_some())) {
        (None, _) => Way::Arguments,
        // The connection is a descriptor of QEMU's.
        (Some(_), true) => Way::Options,
        (Some(_), false) if plan.has_preconfig() => Way::Qmp,
        (Some(_), false) => Way::Options,
    }
}

/// From the top down: what the document names, then what the lowest of these names itself.
fn layers<'a>(disk: &'a DiskDef, handed: &'a [ImageFd]) -> Vec<Layer<'a>> {
    let mut fds = handed.iter();
    let mut layers = Vec::new();
    for image in disk.source.iter().flat_map(Image::chain) {
        let fd = if image.location.opened().is_some() { fds.next() } else { None };
        layers.push(Layer { image: Some(image), fd });
    }
    layers.extend(fds.map(|fd| Layer { image: None, fd: Some(fd) }));
    layers
}

/// The node that reads and writes bytes.
fn storage(plan: &mut Plan<'_>, disk: &DiskDef, layer: &Layer<'_>, name: &str, readonly: bool) -> String {
    let node = format!("{name}-storage");
    let mut blockdev = match (layer.image.map(|i| &i.location), layer.fd) {
        (Some(Location::Network(source)), fd) => disk_network::server(plan, source, fd, &node),
        (Some(Location::Dir(path)), _) => json!({
            "driver": "vvfat",
            "dir": path.display().to_string(),
            "floppy": disk.device == crate::model::DiskDevice::Floppy,
            "rw": false,
        }),
        (Some(Location::Nvme { address: a, namespace, .. }), _) => json!({
            "driver": "nvme",
            "device": format!("{:04x}:{:02x}:{:02x}.{:x}", a.domain, a.bus, a.slot, a.function),
            "namespace": namespace,
        }),
        (Some(Location::VhostVdpa(path)), _) => {
            json!({ "driver": "virtio-blk-vhost-vdpa", "path": path.display().to_string() })
        }
        (_, Some(fd)) => {
            plan.args.pair("-add-fd", format!("fd={},set={}", fd.fd, fd.set));
            let driver = if fd.block { "host_device" } else { "file" };
            let mut file = json!({ "driver": driver, "filename": format!("/dev/fdset/{}", fd.set) });
            set(&mut file, "aio", disk.driver.io.map(|io| io.as_str()));
            file
        }
        // A volume's pool says where it is, and there are none.
        (_, None) => json!({ "driver": "null-co" }),
    };
    blockdev["node-name"] = node.as_str().into();
    blockdev["read-only"] = readonly.into();
    if let Some(manager) = reservations(plan, layer, &node) {
        blockdev["pr-manager"] = manager.into();
    }
    cache(disk, &mut blockdev);
    // What a format gives up can go back to the host even where the guest's own wishes are not passed on.
    let own = (layer.format() != DiskFormat::Raw).then_some(Discard::Unmap);
    set(&mut blockdev, "discard", disk.driver.discard.or(own).map(|d| d.as_str()));
    plan.nodes.push(blockdev);
    node
}

/// The service that makes persistent reservations.
fn reservations(plan: &mut Plan<'_>, layer: &Layer<'_>, node: &str) -> Option<String> {
    let asked = layer.image?.reservations.as_ref()?;
    let id = if asked.managed { "pr-helper0".to_owned() } else { format!("pr-helper-{node}") };
    let path = asked.socket.as_ref().map_or("pr-helper0.sock".into(), |p| p.display().to_string());
    if plan.slots.take_id(&id) {
        plan.args.json("-object", &json!({ "qom-type": "pr-manager-helper", "id": id, "path": path }));
    }
    Some(id)
}

/// The node that understands the format; gives its name.
#[expect(clippy::too_many_arguments, reason = "each says another thing of one node")]
fn format_node(
    plan: &mut Plan<'_>,
    disk: &DiskDef,
    layer: &Layer<'_>,
    name: &str,
    readonly: bool,
    storage: String,
    below: Option<String>,
    is_top: bool,
) -> String {
    let format = layer.format();
    let mut node = json!({ "node-name": name, "read-only": readonly });
    cache(disk, &mut node);
    set(&mut node, "discard", disk.driver.discard.map(|d| d.as_str()));
    if is_top {
        set(&mut node, "detect-zeroes", detect_zeroes(disk));
    }
    node["driver"] = driver(format).into();
    if let Some(image) = layer.image {
        set(&mut node, "cache-size", image.metadata_cache);
        encryption(image, name, &mut node);
        if let (Some(slice), DiskFormat::Raw) = (image.slice, format) {
            node["offset"] = slice.offset.into();
            node["size"] = slice.size.into();
        } else if let Some(slice) = image.slice {
            sliced(plan, name, readonly, &storage, slice.offset, slice.size);
            node["file"] = format!("{name}-slice").into();
        }
    }
    no_unref(plan, disk, format, &mut node);
    if node.get("file").is_none() {
        node["file"] = storage.into();
    }
    if has_backing(format) {
        // Said even where there is none: QEMU would else open what the header names.
        node["backing"] = below.map_or(Value::Null, Value::from);
    } else if below.is_some() {
        let message = format!("an image of format {} has no backing file", format.as_str());
        plan.error(&disk.info.path, message, "give the format of the upper image, as type='qcow2'");
    }
    plan.nodes.push(node);
    name.to_owned()
}

/// The part of a file that holds an image of a format.
fn sliced(plan: &mut Plan<'_>, name: &str, readonly: bool, storage: &str, offset: u64, size: u64) {
    let node = json!({
        "driver": "raw",
        "node-name": format!("{name}-slice"),
        "read-only": readonly,
        "file": storage,
        "offset": offset,
        "size": size,
    });
    plan.nodes.push(node);
}

/// QEMU's name of a format.
fn driver(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Ploop => "parallels",
        DiskFormat::Vhd => "vpc",
        // The directory is shown as an image of a FAT file system, which is raw.
        DiskFormat::Fat | DiskFormat::None | DiskFormat::Iso | DiskFormat::Dir => "raw",
        other => other.as_str(),
    }
}

/// Whether images of this format may lie over others.
fn has_backing(format: DiskFormat) -> bool {
    matches!(format, DiskFormat::Qcow2 | DiskFormat::Qcow | DiskFormat::Qed | DiskFormat::Vmdk)
}

fn cache(disk: &DiskDef, node: &mut Value) {
    let Some(cache) = disk.driver.cache else { return };
    node["cache"] = json!({
        "direct": matches!(cache, Cache::None | Cache::Directsync),
        "no-flush": cache == Cache::Unsafe,
    });
}

/// To give zeroes back takes that giving back is allowed.
fn detect_zeroes(disk: &DiskDef) -> Option<&'static str> {
    match (disk.driver.detect_zeroes?, disk.driver.discard) {
        (DetectZeroes::Unmap, Some(Discard::Unmap)) => Some("unmap"),
        (DetectZeroes::Off, _) => Some("off"),
        _ => Some("on"),
    }
}

/// The secret itself is not in the document: see `plan::check`.
fn encryption(image: &Image, name: &str, node: &mut Value) {
    let Some(Encryption { format, engine, .. }) = &image.encryption else { return };
    let secret = format!("{name}-encryption-secret0");
    let word = match format {
        EncryptionFormat::Qcow | EncryptionFormat::Default => "aes",
        other => other.as_str(),
    };
    if *engine == Some(EncryptionEngine::Librbd) {
        return;
    }
    if has_backing(image.format) {
        node["encrypt"] = json!({ "format": word, "key-secret": secret });
    } else {
        node["driver"] = "luks".into();
        node["key-secret"] = secret.into();
    }
}

fn no_unref(plan: &mut Plan<'_>, disk: &DiskDef, format: DiskFormat, node: &mut Value) {
    let Some(wish) = disk.driver.discard_no_unref.filter(|_| format == DiskFormat::Qcow2) else { return };
    node["discard-no-unref"] = wish.into();
    if wish && plan.qemu.version < (8, 1, 0) {
        let message = "discard_no_unref takes QEMU 8.1 or newer";
        plan.unsupported(&format!("{}/driver/@discard_no_unref", disk.info.path), message, "leave it out");
    }
}

/// What stands between the image and the drive.
fn filters(plan: &mut Plan<'_>, disk: &DiskDef, index: usize, mut top: String) {
    if disk.driver.copy_on_read == Some(true) {
        let node = format!("disk{index}-cor");
        let mut filter = json!({ "driver": "copy-on-read", "node-name": node, "file": top });
        set(&mut filter, "discard", disk.driver.discard.map(|d| d.as_str()));
        plan.nodes.push(filter);
        top = node;
    }
    // The first is the one nearest to the image.
    for (n, group) in disk.throttle_filters.iter().enumerate() {
        let node = format!("disk{index}-throttle{n}");
        let filter = json!({
            "driver": "throttle",
            "node-name": node,
            "throttle-group": throttle_id(group),
            "file": top,
        });
        plan.nodes.push(filter);
        top = node;
    }
}

fn throttle_id(group: &str) -> String {
    format!("throttle-{group}")
}

/// The groups of limits that filters of several disks share.
pub(super) fn throttle_groups(plan: &mut Plan<'_>) {
    for (name, tune) in &plan.def.throttle_groups {
        let object = json!({ "qom-type": "throttle-group", "id": throttle_id(name), "limits": limits(tune) });
        plan.args.json("-object", &object);
    }
}

/// `total_bytes_sec_max_length` is `bps-total-max-length` here, and so on.
fn limits(tune: &Iotune) -> Value {
    let mut limits = Map::new();
    for (name, value) in tune.limits.iter().filter(|(_, value)| *value > 0) {
        let qemu = match name.split_once("_sec").and_then(|(kind, rest)| Some((kind.split_once('_')?, rest)))
        {
            Some((("size", _), _)) | None => "iops-size".to_owned(),
            Some(((direction, what), rest)) => {
                let what = if what == "bytes" { "bps" } else { what };
                format!("{what}-{direction}{}", rest.replace('_', "-"))
            }
        };
        limits.insert(qemu, (*value).into());
    }
    Value::Object(limits)
}

fn over_network(image: &Image) -> bool {
    matches!(image.location, Location::Network(_))
}

/// Whether QEMU itself limits what it keeps of an image in memory, so that nobody need look into it.
fn is_bounded(format: DiskFormat) -> bool {
    let raw = matches!(format, DiskFormat::Iso | DiskFormat::Luks | DiskFormat::Fat | DiskFormat::Dir);
    raw || matches!(format, DiskFormat::None | DiskFormat::Raw | DiskFormat::Qcow2)
}

/// What of an image's kind cannot be opened safely, or at all, by this Warren: told by name.
pub(super) fn refusals(plan: &mut Plan<'_>, disk: &DiskDef) {
    for image in disk.source.iter().flat_map(Image::chain) {
        let open_chain = image.backing == Backing::AsImageSays;
        let problem = match image.format {
            DiskFormat::Vmdk => Some("may keep its content in files that only the image names"),
            DiskFormat::Dmg => Some("may take any amount of the host's memory"),
            of_file if over_network(image) && !is_bounded(of_file) => {
                Some("on a server may take any amount of the host's memory")
            }
            DiskFormat::Qcow | DiskFormat::Qed if open_chain => {
                Some("may lie over another image, which Warren cannot tell")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            let message = format!("an image of format {} {problem}", image.format.as_str());
            let remedy = "convert it to qcow2 or raw, or say with <backingStore/> that nothing is below";
            plan.findings.push(finding(Severity::Unsupported, &image.path, message, remedy));
        }
    }
}
