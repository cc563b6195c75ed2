//! Whether a part of a document was in the one before. Owns what must be the same for that: everything but the
//! place of an element in the document and of a device on the guest's buses.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use super::PathField;
use crate::model::{
    Backing, Device, DeviceInfo, Firmware, FirmwareFeature, IfName, Image, LoaderDef, Location, VarsDef,
};

/// One part of a document that names something of the host.
#[derive(Debug, Clone)]
pub(super) struct Named<'a> {
    pub(super) field: PathField,
    /// The path of its element.
    pub(super) place: String,
    pub(super) what: What<'a>,
}

/// All that decides what is used and how. The choice of firmware and `<loader>` decide whether variables are written,
/// and in which format.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What<'a> {
    /// It is not compared: it needs `host-access` in any case.
    Host,
    Device(&'a Device),
    Target(&'a IfName),
    File(&'a Path),
    FwCfg {
        name: &'a str,
        file: &'a Path,
    },
    Loader(Choice<'a>, &'a LoaderDef),
    Vars(Choice<'a>, Option<&'a LoaderDef>, &'a VarsDef),
}

/// By what firmware is chosen among what is installed; `None` where it is not.
pub(super) type Choice<'a> = Option<(Firmware, &'a [(FirmwareFeature, bool)], &'a str, Option<&'a str>)>;

impl What<'_> {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Device(a), Self::Device(b)) => unplaced(a) == unplaced(b),
            (a, b) => a == b,
        }
    }
}

/// What the document before named. Each part of it allows one of the new document.
pub(super) struct Before<'a> {
    /// By what they hash to: documents may have thousands of parts. Two that differ may hash to the same.
    parts: HashMap<u64, Vec<Named<'a>>>,
    hasher: RandomState,
}

impl<'a> Before<'a> {
    pub(super) fn new(named: Vec<Named<'a>>) -> Self {
        let mut before = Self { parts: HashMap::new(), hasher: RandomState::new() };
        for name in named {
            before.parts.entry(before.hash(&name)).or_default().push(name);
        }
        before
    }

    /// Whether it had this very part, which it has no more then.
    pub(super) fn take(&mut self, name: &Named<'_>) -> bool {
        let Some(alike) = self.parts.get_mut(&self.hash(name)) else { return false };
        let found = alike.iter().position(|old| old.field == name.field && old.what.is(&name.what));
        found.map(|at| alike.swap_remove(at)).is_some()
    }

    fn hash(&self, name: &Named<'_>) -> u64 {
        let mut text = Text(self.hasher.build_hasher());
        // A hasher takes every text.
        let _ = match name.what {
            What::Device(device) => write!(text, "{:?} {:?}", name.field, unplaced(device)),
            what => write!(text, "{:?} {what:?}", name.field),
        };
        text.0.finish()
    }
}

struct Text<H>(H);

impl<H: Hasher> Write for Text<H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// The device without its place. What keeps one by mistake counts as changed when it moves.
fn unplaced(device: &Device) -> Device {
    let mut device = device.clone();
    *device.info_mut() = DeviceInfo::default();
    if let Device::Disk(disk) = &mut device {
        let mut next = disk.source.as_mut();
        while let Some(image) = next {
            next = unplaced_image(image);
        }
    }
    device
}

/// Clears the places in an image; the image below it.
fn unplaced_image(image: &mut Image) -> Option<&mut Image> {
    image.path.clear();
    image.encryption.iter_mut().for_each(|encryption| encryption.path.clear());
    if let Location::Network(source) = &mut image.location {
        source.auth.iter_mut().for_each(|auth| auth.path.clear());
    }
    if let Backing::Image(below) = &mut image.backing { Some(below) } else { None }
}
