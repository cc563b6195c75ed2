//! What the command line must not show: every user of the host can read it in `/proc`.
//!
//! Owns the ways around it. Content goes into a sealed file that QEMU reads by its own `/proc/self/fd`. What QEMU's
//! monitor takes before there is a machine (`--preconfig`) goes over QMP. The rest goes into a file of options for
//! `-readconfig`, whose values hold no quote and no line break and are short. Must never fall back to an argument.

use serde_json::{Value, json};

use super::Plan;
use crate::model::{Device, DomainDef, GraphicsKind, Image, Location, SysinfoDef, VideoModel};

/// Ends the time before there is a machine.
pub const EXIT_PRECONFIG: &str = "x-exit-preconfig";

/// QEMU reads 1023 bytes of a line, the name of the option included.
const LONGEST: usize = 900;
/// QEMU's bound for the names of sections.
const LONGEST_ID: usize = 63;

/// A file that QEMU inherits, to be sealed once it has this content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The number of its descriptor.
    pub fd: i32,
    /// What QEMU reads.
    pub content: Vec<u8>,
}

/// The options that stand in a file instead of among the arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How QEMU calls the file.
    pub file: String,
    /// What is in it, as `-readconfig` takes it.
    pub text: String,
}

impl Options {
    /// QEMU's words, with the options themselves where it names the line of a file that nobody can look at.
    pub fn name_places_in(&self, words: &str) -> String {
        let place = format!("{}:", self.file);
        let named = |line: &str| {
            let (before, after) = line.split_once(&place)?;
            let (number, after) = after.split_once(':')?;
            let section = self.section_of(number.parse().ok()?)?;
            Some(format!("{before} {section}:{after}"))
        };
        let line = |line| named(line).unwrap_or_else(|| str::to_owned(line));
        if self.text.is_empty() {
            words.to_owned()
        } else {
            words.lines().map(line).collect::<Vec<_>>().join("\n")
        }
    }

    /// The section that the line of this number is in, on one line.
    fn section_of(&self, number: usize) -> Option<String> {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins = |line: &&str| line.starts_with('[');
        let first = lines.get(..number)?.iter().rposition(begins)?;
        let rest = lines[first + 1..].iter().take_while(|line| !begins(line)).map(|line| line.trim());
        Some(std::iter::once(lines[first]).chain(rest).collect::<Vec<_>>().join(" "))
    }
}

/// How many such files a start may need at most, the one of options among them.
pub fn most_sealed(def: &DomainDef) -> u64 {
    let images = def.disks().flat_map(|disk| disk.source.iter().flat_map(Image::chain));
    let cookies = images.filter(|image| match &image.location {
        Location::Network(source) => source.cookie_text().is_some(),
        _ => false,
    });
    let of_firmware = def.sysinfo.iter().map(|info| match info {
        SysinfoDef::Smbios(tables) => tables.len(),
        SysinfoDef::FwCfg(entries) => entries.len(),
    });
    (cookies.count() + of_firmware.sum::<usize>() + 1) as u64
}

/// What is handed over beside the arguments, in the making.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// The number of the next descriptor.
    next: i32,
    sealed: Vec<Sealed>,
    config: String,
    has_preconfig: bool,
    early: Vec<(&'static str, Value)>,
}

/// Why a value cannot stand in a file of options.
#[derive(Debug)]
pub(super) struct NotAnOption;

impl Unseen {
    pub(super) fn new(def: &DomainDef, next: i32) -> Self {
        Self { next, has_preconfig: has_preconfig(def), ..Self::default() }
    }
}

/// Whether displays work that are there before the machine. A window looks for its screens only once, and so does
/// SPICE, but for those of QXL.
fn has_preconfig(def: &DomainDef) -> bool {
    let has_spice = def.devices.iter().any(|d| match d {
        Device::Graphics(g) => matches!(g.kind, GraphicsKind::Spice(_)),
        _ => false,
    });
    def.devices.iter().all(|device| match device {
        Device::Graphics(g) => matches!(g.kind, GraphicsKind::Vnc(_) | GraphicsKind::Spice(_)),
        Device::Video(video) => !has_spice || matches!(video.model, Some(VideoModel::Qxl | VideoModel::None)),
        _ => true,
    })
}

impl Plan<'_> {
    /// The path by which QEMU reads this content.
    pub(super) fn sealed(&mut self, content: Vec<u8>) -> String {
        let fd = self.unseen.next;
        self.unseen.next += 1;
        self.unseen.sealed.push(Sealed { fd, content });
        super::fd_path(fd)
    }

    /// Whether QEMU's monitor can be used before there is a machine.
    pub(super) fn has_preconfig(&self) -> bool {
        self.unseen.has_preconfig
    }

    /// A QMP command for the time before there is a machine.
    pub(super) fn before_the_machine(&mut self, command: &'static str, arguments: Value) {
        self.unseen.early.push((command, arguments));
    }

    /// A section of options, as `[KIND "ID"]`; an empty `id` for a section without one.
    pub(super) fn options(
        &mut self,
        kind: &str,
        id: &str,
        options: &[(&str, String)],
    ) -> Result<(), NotAnOption> {
        let fits =
            |value: &str| value.len() <= LONGEST && !value.contains(|c: char| c == '"' || c.is_control());
        if !options.iter().all(|(_, value)| fits(value)) || !fits(id) || id.len() > LONGEST_ID {
            return Err(NotAnOption);
        }
        let id = if id.is_empty() { String::new() } else { format!(" \"{id}\"") };
        self.unseen.config.push_str(&format!("[{kind}{id}]\n"));
        for (name, value) in options {
            self.unseen.config.push_str(&format!("  {name} = \"{value}\"\n"));
        }
        Ok(())
    }

    /// Adds the arguments that lead to what is not among them; gives the files, and what is in the one of options.
    pub(super) fn point_to_the_unseen(&mut self) -> (Vec<Sealed>, Options) {
        let mut options = Options { text: std::mem::take(&mut self.unseen.config), ..Options::default() };
        if !options.text.is_empty() {
            options.file = self.sealed(options.text.clone().into_bytes());
            self.args.pair("-readconfig", options.file.clone());
        }
        let early = std::mem::take(&mut self.unseen.early);
        if !early.is_empty() {
            self.args.flag("--preconfig");
            let end = (EXIT_PRECONFIG, json!({}));
            self.settings.splice(0..0, early.into_iter().chain([end]));
        }
        (std::mem::take(&mut self.unseen.sealed), options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_names_a_line_and_we_what_is_there() {
        let text =
            "[netdev \"a\"]\n  type = \"user\"\n[netdev \"b\"]\n  type = \"socket\"\n  listen = \":5555\"\n";
        let options = Options { file: "/proc/self/fd/9".into(), text: text.into() };
        assert_eq!(
            options.name_places_in("x\nqemu:/proc/self/fd/9:5: can't bind\ny"),
            "x\nqemu: [netdev \"b\"] type = \"socket\" listen = \":5555\": can't bind\ny"
        );
        for other in ["qemu:/proc/self/fd/8:5: no", "qemu:/proc/self/fd/9:99: no", "no"] {
            assert_eq!(options.name_places_in(other), other);
        }
    }
}
