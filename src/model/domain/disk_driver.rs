//! `<driver>` of a `<disk>`. Owns libvirt's words for how a disk is driven; must never judge whether they go
//! together (see `plan::check`).

use super::words::{ON_OFF, words};
use super::{VirtioOptions, virtio_options};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<driver>` of a disk, but for what it says of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct DiskDriver {
    pub cache: Option<Cache>,
    pub error_policy: Option<ErrorPolicy>,
    pub rerror_policy: Option<ErrorPolicy>,
    pub io: Option<Io>,
    pub ioeventfd: Option<bool>,
    pub event_idx: Option<bool>,
    pub copy_on_read: Option<bool>,
    pub discard: Option<Discard>,
    pub discard_no_unref: Option<bool>,
    pub detect_zeroes: Option<DetectZeroes>,
    pub iothread: Option<u32>,
    /// `<iothreads>`: each thread's number with the queues that it serves, all where none is named.
    pub iothreads: Vec<(u32, Vec<u32>)>,
    pub queues: Option<u32>,
    pub queue_size: Option<u32>,
    /// What every driver on virtio may say.
    pub virtio: VirtioOptions,
}

words! {
    /// `<driver cache>`.
    Cache {
        Default = "default", None = "none", Writethrough = "writethrough", Writeback = "writeback",
        Directsync = "directsync", Unsafe = "unsafe",
    }
}

words! {
    /// `<driver error_policy>` and `rerror_policy`.
    ErrorPolicy {
        Default = "default", Stop = "stop", Report = "report", Ignore = "ignore", Enospace = "enospace"
    }
}

words! {
    /// `<driver io>`: how the host reads and writes.
    Io { Native = "native", Threads = "threads", IoUring = "io_uring" }
}

words! {
    /// `<driver discard>`.
    Discard { Unmap = "unmap", Ignore = "ignore" }
}

words! {
    /// `<driver detect_zeroes>`.
    DetectZeroes { Off = "off", On = "on", Unmap = "unmap" }
}

/// The `<driver>` of a disk, whose format and metadata cache belong to the image.
pub(super) fn read(disk: &View<'_>) -> DiskDriver {
    let Some(view) = disk.child("driver") else { return DiskDriver::default() };
    if let Some(name) = view.filled("name").filter(|n| *n != "qemu") {
        view.unsupported_at("name", format!("Warren does not have the disk driver '{name}'"), "give qemu");
    }
    let rerror_policy = view.one_of("rerror_policy", ErrorPolicy::WORDS);
    if rerror_policy == Some(ErrorPolicy::Enospace) {
        let message = "reading cannot fail for want of space";
        view.error_at("rerror_policy", message, "give stop, report or ignore");
    }
    DiskDriver {
        cache: view.one_of("cache", Cache::WORDS).filter(|c| *c != Cache::Default),
        error_policy: policy(view.one_of("error_policy", ErrorPolicy::WORDS)),
        rerror_policy: policy(rerror_policy),
        io: view.one_of("io", Io::WORDS),
        ioeventfd: view.one_of("ioeventfd", ON_OFF),
        event_idx: view.one_of("event_idx", ON_OFF),
        copy_on_read: view.one_of("copy_on_read", ON_OFF),
        discard: view.one_of("discard", Discard::WORDS),
        discard_no_unref: view.one_of("discard_no_unref", ON_OFF),
        detect_zeroes: view.one_of("detect_zeroes", DetectZeroes::WORDS),
        iothread: positive(&view, "iothread"),
        iothreads: view.child("iothreads").map(|t| iothreads(&t)).unwrap_or_default(),
        queues: positive(&view, "queues"),
        queue_size: view.parsed("queue_size"),
        virtio: virtio_options(&view),
    }
}

fn policy(given: Option<ErrorPolicy>) -> Option<ErrorPolicy> {
    given.filter(|p| *p != ErrorPolicy::Default)
}

fn positive(view: &View<'_>, name: &str) -> Option<u32> {
    let number = view.parsed(name);
    if number == Some(0) {
        view.error_at(name, format!("'{name}' is 0"), "give a number from 1");
    }
    number
}

fn iothreads(view: &View<'_>) -> Vec<(u32, Vec<u32>)> {
    let number = |v: &View<'_>| required(v.parsed("id"), v, "id", "give its number");
    let threads = view.children("iothread");
    if threads.is_empty() {
        view.error("<iothreads> names no thread", "add <iothread id='1'/>");
    }
    let read = |t: &View<'_>| Some((number(t)?, t.children("queue").iter().filter_map(number).collect()));
    threads.iter().filter_map(read).collect()
}
