//! Structures of the SMBIOS specification (DMTF DSP0134), as bytes.
//!
//! Owns their layout and what stands where the document says nothing: exactly what QEMU itself writes, so that a
//! guest sees the same as if QEMU had been given the values one by one. Section 6.1.2 has the header, 6.1.3 the texts
//! behind it; 7.1 is the BIOS (type 0), 7.2 the system (1), 7.3 the baseboard (2), 7.4 the chassis (3), 7.12 OEM
//! strings (11).

use super::super::machine::{Family, Machine};
use crate::model::Uuid;

/// Before this version of a machine a UUID was written in the order of the network.
const UUID_SINCE: (u32, u32) = (2, 2);
/// Before this one the firmware itself ended a structure.
const END_SINCE: (u32, u32) = (2, 1);
/// QEMU's number of a text in a structure is a byte.
const MOST_STRINGS: usize = 255;

/// What QEMU says of a machine where nobody else does.
pub(super) struct Maker<'a> {
    product: &'static str,
    machine: &'a str,
    version: (u32, u32),
}

impl<'a> Maker<'a> {
    pub(super) fn of(machine: &Machine<'a>) -> Self {
        let product = match machine.family {
            Family::I440fx => "Standard PC (i440FX + PIIX, 1996)",
            Family::Q35 => "Standard PC (Q35 + ICH9, 2009)",
        };
        let name = machine.name;
        let number = name.rsplit('-').next().unwrap_or_default().split_once('.');
        let version = number.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        // Other vendors' machines have other numbers, and are newer.
        Self { product, machine: name, version: version.unwrap_or((u32::MAX, 0)) }
    }
}

/// Why a structure cannot be built.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

/// The structure of type `kind` with QEMU's handle for it.
pub(super) fn build(
    kind: u8,
    values: &[(&str, &str)],
    maker: &Maker<'_>,
    uuid: &Uuid,
) -> Result<Vec<u8>, Problem> {
    // An empty text counts, as for QEMU: it is no reason for the default.
    let find = |word: &str| values.iter().rev().find(|(w, _)| *w == word).map(|(_, value)| *value);
    let said = |word: &str| find(word).unwrap_or_default();
    let or = |word: &str, default: &'static str| find(word).unwrap_or(default).to_owned();
    let or_machine = |word: &str| find(word).unwrap_or(maker.machine).to_owned();
    let handle: u16 = if kind == 11 { 0xe00 } else { u16::from(kind) << 8 };
    let mut s = Structure::new(kind, handle);
    match kind {
        0 => {
            let (major, minor) = release(said("release"))?;
            s.text(said("vendor")).text(said("version"));
            // Where the BIOS begins: the segment that SeaBIOS says too.
            s.word(0xe800).text(said("date"));
            // Its size, and that it tells no characteristics, but that it is that of a virtual machine.
            s.byte(0).bytes(&8u64.to_le_bytes()).bytes(&[0, 0x14]);
            // No release of an embedded controller.
            s.bytes(&[major, minor, 0xff, 0xff]);
        }
        1 => {
            s.text(&or("manufacturer", "QEMU"))
                .text(&or("product", maker.product))
                .text(&or_machine("version"));
            s.text(said("serial"));
            s.bytes(&if maker.version < UUID_SINCE { *uuid.as_bytes() } else { uuid.to_bytes_le() });
            // The power switch has woken it.
            s.byte(6).text(said("sku")).text(said("family"));
        }
        2 => {
            s.text(&or("manufacturer", "QEMU"))
                .text(&or("product", maker.product))
                .text(&or_machine("version"));
            // A board that hosts others.
            s.text(said("serial")).text(said("asset")).byte(1).text(said("location"));
            // In the chassis of type 3; a motherboard, with nothing else in it.
            s.word(0x300).bytes(&[0x0a, 0]);
        }
        3 => {
            // A chassis of another kind.
            s.text(&or("manufacturer", "QEMU")).byte(1).text(&or_machine("version"));
            s.text(said("serial")).text(said("asset"));
            // Safe when it booted, its power supply and its temperature too; its security is unknown.
            s.bytes(&[3, 3, 3, 2]).bytes(&[0; 4]);
            // No height, power cords or elements.
            s.bytes(&[0; 4]).text(said("sku"));
        }
        _ => {
            let strings: Vec<&str> = values.iter().map(|(_, value)| *value).collect();
            let count = u8::try_from(strings.len()).map_err(|_| Problem {
                message: format!(
                    "there are {} strings of the maker, and a table has room for 255",
                    strings.len()
                ),
                remedy: "leave some out",
            })?;
            s.byte(count);
            strings.iter().for_each(|text| s.behind(text));
        }
    }
    s.done(maker.version < END_SINCE)
}

/// `MAJOR.MINOR`; nothing is 0.0.
fn release(text: &str) -> Result<(u8, u8), Problem> {
    let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match parts {
        Some(release) => Ok(release),
        None if text.is_empty() => Ok((0, 0)),
        None => Err(Problem {
            message: format!("'{}' is not a release of a BIOS", text.escape_debug()),
            remedy: "as 10.22: two numbers up to 255",
        }),
    }
}

/// A structure in the making: the formatted part, and the texts behind it, which it has the numbers of.
struct Structure {
    formatted: Vec<u8>,
    texts: Vec<u8>,
    count: usize,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        // The second byte is the length of the formatted part.
        Self { formatted: vec![kind, 0, low, high], texts: Vec::new(), count: 0 }
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        self.bytes(&[byte])
    }

    fn word(&mut self, word: u16) -> &mut Self {
        self.bytes(&word.to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.formatted.extend_from_slice(bytes);
        self
    }

    /// A text with its number here; without a text the number is 0.
    fn text(&mut self, text: &str) -> &mut Self {
        self.behind(text);
        let number = if text.is_empty() { 0 } else { u8::try_from(self.count).unwrap_or(u8::MAX) };
        self.byte(number)
    }

    fn behind(&mut self, text: &str) {
        if !text.is_empty() {
            self.count += 1;
            self.texts.extend_from_slice(text.as_bytes());
            self.texts.push(0);
        }
    }

    /// With the ends of the texts, of which there are two where there is none; `open`: without the last.
    fn done(self, open: bool) -> Result<Vec<u8>, Problem> {
        let too_many = || Problem { message: "a table has too many texts".into(), remedy: "leave some out" };
        if self.count > MOST_STRINGS {
            return Err(too_many());
        }
        let mut all = self.formatted;
        all[1] = u8::try_from(all.len()).map_err(|_| too_many())?;
        all.extend(self.texts);
        let ends = usize::from(self.count == 0) + usize::from(!open);
        all.resize(all.len() + ends, 0);
        Ok(all)
    }
}
