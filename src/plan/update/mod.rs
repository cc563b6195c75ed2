//! libvirt's sectioned update of a network: one reservation, range, record or group is added, changed or
//! removed, and the rest of the document stays as it is written.
//!
//! Owns which entry is meant and what may not stand beside what, by libvirt's rules. Must never touch a
//! running network, nor change more of the document than the entry.

mod dhcp;
mod dns;
mod ports;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use super::check;
use crate::model::{DocError, Finding, NetworkDoc, Severity};
use crate::xml::{Document, Element, XmlError};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum Command {
    Modify,
    Delete,
    AddLast,
    AddFirst,
}

/// Of what part of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum Section {
    Bridge,
    Domain,
    Ip,
    IpDhcpHost,
    IpDhcpRange,
    Forward,
    ForwardInterface,
    ForwardPf,
    Portgroup,
    DnsHost,
    DnsTxt,
    DnsSrv,
}

const COMMANDS: [(&str, Command); 4] = [
    ("modify", Command::Modify),
    ("delete", Command::Delete),
    ("add-last", Command::AddLast),
    ("add-first", Command::AddFirst),
];

const SECTIONS: [(&str, Section); 12] = [
    ("bridge", Section::Bridge),
    ("domain", Section::Domain),
    ("ip", Section::Ip),
    ("ip-dhcp-host", Section::IpDhcpHost),
    ("ip-dhcp-range", Section::IpDhcpRange),
    ("forward", Section::Forward),
    ("forward-interface", Section::ForwardInterface),
    ("forward-pf", Section::ForwardPf),
    ("portgroup", Section::Portgroup),
    ("dns-host", Section::DnsHost),
    ("dns-txt", Section::DnsTxt),
    ("dns-srv", Section::DnsSrv),
];

/// Why there is no new document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Not one of libvirt's words.
    #[error("'{word}' is not a {kind} of an update; known are {known}")]
    UnknownWord {
        /// `command` or `section`.
        kind: &'static str,
        /// What was given.
        word: String,
        /// What could have been.
        known: String,
    },
    /// The section, or this command on it, is not for updates.
    #[error("{0}; define the network anew instead")]
    NotSupported(String),
    /// The fragment is not well-formed.
    #[error("the fragment is not XML that can be read")]
    Xml(#[source] XmlError),
    /// The fragment is of another section.
    #[error("the fragment is <{found}>; in this section it must be <{wanted}>")]
    WrongElement {
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The fragment does not say which entry it is about.
    #[error("the fragment is incomplete: {0}")]
    Incomplete(String),
    /// The part of the document that the entry belongs to is not there.
    #[error("{0}")]
    NoParent(String),
    /// The entry to be changed or removed is not there.
    #[error("there is no {0} that matches the fragment")]
    NotFound(&'static str),
    /// Several entries match.
    #[error("more than one {0} matches the fragment; say more of it")]
    Ambiguous(&'static str),
    /// The entry to be added is there, or contradicts one that is.
    #[error("{0}")]
    Exists(String),
    /// The document would not be valid.
    #[error("the network would not be valid")]
    Invalid(#[from] DocError),
}

type Result<T> = std::result::Result<T, UpdateError>;

impl FromStr for Command {
    type Err = UpdateError;

    fn from_str(word: &str) -> Result<Self> {
        one_of("command", &COMMANDS, word)
    }
}

impl FromStr for Section {
    type Err = UpdateError;

    fn from_str(word: &str) -> Result<Self> {
        one_of("section", &SECTIONS, word)
    }
}

fn one_of<T: Copy>(kind: &'static str, known: &[(&str, T)], word: &str) -> Result<T> {
    let found = known.iter().find(|(w, _)| *w == word).map(|(_, t)| *t);
    found.ok_or_else(|| {
        let known = known.iter().map(|(w, _)| *w).collect::<Vec<_>>().join(", ");
        UpdateError::UnknownWord { kind, word: word.to_owned(), known }
    })
}

/// The document after the update. `index` counts `<ip>` elements from 0 and bears on their sections alone; a
/// negative one means the `<ip>` that has DHCP, else the first.
pub fn apply(
    doc: &NetworkDoc,
    command: Command,
    section: Section,
    index: i32,
    fragment: &str,
) -> Result<NetworkDoc> {
    let fragment = Document::parse(fragment).map_err(UpdateError::Xml)?.into_root();
    let update = Update { doc, command, index, fragment };
    let new = match section {
        Section::IpDhcpHost => update.dhcp_host(),
        Section::IpDhcpRange => update.dhcp_range(),
        Section::ForwardInterface => update.forward_interface(),
        Section::Portgroup => update.portgroup(),
        Section::DnsHost => update.dns_host(),
        Section::DnsTxt => update.dns_txt(),
        Section::DnsSrv => update.dns_srv(),
        Section::Bridge | Section::Domain | Section::Ip | Section::Forward | Section::ForwardPf => {
            let word = SECTIONS.iter().find(|(_, s)| *s == section).map_or("", |(word, _)| word);
            Err(UpdateError::NotSupported(format!("the section '{word}' is not changed in part")))
        }
    }?;
    let errors: Vec<Finding> =
        check::network(&new).into_iter().filter(|f| f.severity == Severity::Error).collect();
    if errors.is_empty() { Ok(new) } else { Err(DocError::Config(errors).into()) }
}

/// One update in the making.
struct Update<'a> {
    doc: &'a NetworkDoc,
    command: Command,
    index: i32,
    fragment: Element,
}

impl Update<'_> {
    fn is_add(&self) -> bool {
        matches!(self.command, Command::AddFirst | Command::AddLast)
    }

    fn must_be(&self, wanted: &'static str) -> Result<()> {
        if self.fragment.name() == wanted {
            return Ok(());
        }
        Err(UpdateError::WrongElement { found: self.fragment.name().to_owned(), wanted })
    }

    fn cannot_modify(&self, what: &str) -> Result<()> {
        if self.command == Command::Modify {
            let message = format!("{what} is not modified, only added or deleted");
            return Err(UpdateError::NotSupported(message));
        }
        Ok(())
    }

    /// The document after an edit, read again as a whole, so that what is said of it has a place in it.
    fn edited(&self, edit: impl FnOnce(&mut Element)) -> Result<NetworkDoc> {
        let mut tree = self.doc.tree().clone();
        edit(tree.root_mut());
        Ok(NetworkDoc::parse(&tree.to_string())?)
    }

    /// The fragment as a child of `parent`: where the command says among those of its name, else after all
    /// of the names in `others`, else first.
    fn insert(&self, parent: &mut Element, others: &[&str]) {
        let name = self.fragment.name();
        let among = match self.command {
            Command::AddFirst => parent.child_index(name),
            _ => after(parent, &[name]),
        };
        let at = among.or_else(|| after(parent, others));
        parent.insert(at.unwrap_or(0), self.fragment.clone());
    }

    /// A filled attribute of the fragment.
    fn attr(&self, name: &str) -> Option<&str> {
        self.fragment.attr(name).filter(|v| !v.is_empty())
    }

    /// A filled attribute of the fragment as a `T`.
    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.attr(name) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(UpdateError::Incomplete(format!("{name}: '{value}' cannot stand there: {e}"))),
        }
    }
}

/// The place after the last child of one of these names.
fn after(parent: &Element, names: &[&str]) -> Option<usize> {
    let of_them = parent.children().enumerate().filter(|(_, e)| names.contains(&e.name()));
    of_them.last().map(|(i, _)| i + 1)
}

/// Removes, or replaces, the child number `n` of those of this name.
fn replace(parent: &mut Element, name: &str, n: usize, by: Option<Element>) {
    let position = parent.children().enumerate().filter(|(_, e)| e.name() == name).map(|(i, _)| i).nth(n);
    if let Some(at) = position {
        parent.remove_child(at);
        if let Some(by) = by {
            parent.insert(at, by);
        }
    }
}
