//! Secrets in documents: where a document keeps them, and what becomes of those that a redefinition leaves out.
//!
//! Owns the list of their kinds. Must never know who may read them, and never carry one to where it was not sent
//! before: another device, another server.

use std::collections::{HashMap, VecDeque};
use std::iter::successors;

use crate::xml::{Document, Element, Node};

/// A kind of secret. Each function below judges every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `passwd` of a display.
    DisplayPassword,
    /// `<cookies>` of an image on a web server, and of those below it.
    Cookies,
}

impl Kind {
    fn all() -> impl Iterator<Item = Self> {
        successors(Some(Self::DisplayPassword), |kind| match kind {
            Self::DisplayPassword => Some(Self::Cookies),
            Self::Cookies => None,
        })
    }

    /// The element of the devices that have it.
    fn element(self) -> &'static str {
        match self {
            Self::DisplayPassword => "graphics",
            Self::Cookies => "disk",
        }
    }

    /// What makes two devices the same one. Displays of one type have nothing but their order.
    fn identity(self, device: &Element) -> String {
        let named = match self {
            Self::DisplayPassword => device.attr("type"),
            Self::Cookies => device.child("target").and_then(|target| target.attr("dev")),
        };
        named.unwrap_or_default().to_owned()
    }

    fn remove(self, device: &mut Element) {
        match self {
            Self::DisplayPassword => drop(device.remove_attr("passwd")),
            Self::Cookies => sources(device, &mut |source| {
                while let Some(index) = source.child_index("cookies") {
                    source.remove_child(index);
                }
            }),
        }
    }

    /// Puts back into the device what it had before and has left out.
    fn restore(self, device: &mut Element, before: &Element) {
        match self {
            Self::DisplayPassword => {
                if let (Some(password), None) = (before.attr("passwd"), device.attr("passwd")) {
                    put_back(device, before, |device| device.set_attr("passwd", password));
                }
            }
            Self::Cookies => cookies(device, before),
        }
    }
}

/// Cookies are sent to the server that the source names, so they are put back only where that is the same.
fn cookies(disk: &mut Element, before: &Element) {
    let mut known: HashMap<String, Element> = HashMap::new();
    sources(&mut before.clone(), &mut |source| {
        if source.child("cookies").is_some() {
            known.insert(gist(source), source.clone());
        }
    });
    if known.is_empty() {
        return;
    }
    sources(disk, &mut |source| {
        if source.child("cookies").is_none()
            && let Some(before) = known.get(&gist(source))
            && let Some(cookies) = before.child("cookies")
        {
            put_back(source, before, |source| source.append(cookies.clone()));
        }
    });
}

/// As it was where nothing else is changed, so that leaving out and putting back is no change; else by `edit`.
fn put_back(element: &mut Element, before: &Element, edit: impl FnOnce(&mut Element)) {
    let mut bare = before.clone();
    bare.remove_attr("passwd");
    while let Some(index) = bare.child_index("cookies") {
        bare.remove_child(index);
    }
    if bare == *element { *element = before.clone() } else { edit(element) }
}

/// Every `<source>` in a disk: its own, those of the images below it, of a mirror.
fn sources(element: &mut Element, see: &mut impl FnMut(&mut Element)) {
    for child in element.children_mut() {
        if child.name() == "source" {
            see(child);
        }
        sources(child, see);
    }
}

/// What an element says but for its secrets: not in which order its attributes are, nor its white space.
fn gist(element: &Element) -> String {
    fn say(element: &Element, out: &mut Vec<String>) {
        let mut attrs: Vec<_> = element.attrs().filter(|(name, _)| *name != "passwd").collect();
        attrs.sort_unstable();
        out.push(format!("<{} {attrs:?}", element.name()));
        for node in element.nodes() {
            match node {
                Node::Element(child) if child.name() == "cookies" => {}
                Node::Element(child) => say(child, out),
                Node::Text { value, .. } if !value.trim().is_empty() => {
                    out.push(format!("{:?}", value.trim()));
                }
                _ => {}
            }
        }
        out.push(">".to_owned());
    }
    let mut out = Vec::new();
    say(element, &mut out);
    out.concat()
}

fn devices_mut(tree: &mut Document, kind: Kind) -> impl Iterator<Item = &mut Element> {
    let lists = tree.root_mut().children_mut().filter(|e| e.name() == "devices");
    lists.flat_map(Element::children_mut).filter(move |e| e.name() == kind.element())
}

/// The document without its secrets.
pub fn without(tree: &Document) -> Document {
    let mut tree = tree.clone();
    for kind in Kind::all() {
        devices_mut(&mut tree, kind).for_each(|device| kind.remove(device));
    }
    tree
}

/// Puts back, device by device, the secrets that the document has left out of the one that it replaces.
pub fn keep(tree: &mut Document, before: &Document) {
    for kind in Kind::all() {
        keep_kind(tree, before, kind);
    }
}

fn keep_kind(tree: &mut Document, before: &Document, kind: Kind) {
    let mut before = before.clone();
    let olds: Vec<&Element> = devices_mut(&mut before, kind).map(|device| &*device).collect();
    // First those that say the same but for the secret; then, of those left, in their order.
    let (mut alike, mut same) =
        (HashMap::<String, VecDeque<usize>>::new(), HashMap::<String, VecDeque<usize>>::new());
    for (index, old) in olds.iter().enumerate() {
        alike.entry(gist(old)).or_default().push_back(index);
        same.entry(kind.identity(old)).or_default().push_back(index);
    }
    let mut used = vec![false; olds.len()];
    let mut rest = Vec::new();
    for device in devices_mut(tree, kind) {
        match alike.get_mut(&gist(device)).and_then(VecDeque::pop_front) {
            Some(index) => {
                used[index] = true;
                kind.restore(device, olds[index]);
            }
            None => rest.push(device),
        }
    }
    for device in rest {
        let Some(candidates) = same.get_mut(&kind.identity(device)) else { continue };
        while let Some(index) = candidates.pop_front() {
            if !std::mem::replace(&mut used[index], true) {
                kind.restore(device, olds[index]);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(devices: &str) -> Document {
        Document::parse(&format!("<domain><devices>{devices}</devices></domain>")).unwrap()
    }

    /// `after`, in place of `before`, becomes `expected`.
    fn kept(before: &str, after: &str, expected: &str) {
        let mut tree = document(after);
        keep(&mut tree, &document(before));
        assert_eq!(tree.to_string(), document(expected).to_string());
    }

    /// A device with a secret of this kind, and a change of it that leaves the device the same.
    fn example(kind: Kind) -> [&'static str; 2] {
        match kind {
            Kind::DisplayPassword => [
                "<graphics type='vnc' passwd='hidden' connected='keep'/>",
                "<graphics type='vnc' port='5901' passwd='hidden'/>",
            ],
            Kind::Cookies => [
                "<disk><source name='a'>\n <cookies><cookie name='k'>hidden</cookie></cookies>\n <host name='h'/></source>\
                 <backingStore><source name='b'><cookies><cookie name='k'>hidden too</cookie></cookies></source>\
                 </backingStore><target dev='vda'/></disk>",
                "<disk snapshot='no'><source name='a'><host name='h'/><cookies><cookie name='k'>hidden</cookie></cookies>\
                 </source><target dev='vda'/></disk>",
            ],
        }
    }

    #[test]
    fn every_kind_is_left_out_and_put_back() {
        for kind in Kind::all() {
            let [first, changed] = example(kind);
            let bare = |text: &str| without(&document(text)).to_string();
            for text in [first, changed] {
                assert!(!bare(text).contains("hidden"), "{kind:?}: {}", bare(text));
            }
            let inner = |text: &str| {
                let (_, rest) = text.split_once("<devices>").unwrap();
                rest.split_once("</devices>").unwrap().0.to_owned()
            };
            kept(first, &inner(&bare(first)), first);
            kept(first, &inner(&bare(changed)), changed);
            // Another device has no right to it, nor has one that has a secret of its own.
            kept(first, "", "");
            let other = inner(&bare(first)).replace("'vnc'", "'spice'").replace("'vda'", "'vdb'");
            kept(first, &other, &other);
            let own = first.replace("hidden", "own");
            kept(first, &own, &own);
        }
    }

    #[test]
    fn nothing_else_is_left_out() {
        let text = "<graphics type='vnc' passwd='secret' connected='keep'/><graphics type='spice'/>";
        assert_eq!(
            without(&document(text)).to_string(),
            document(&text.replace(" passwd='secret'", "")).to_string()
        );
        let twice =
            "<disk><source><cookies/><cookies/></source><mirror><source><cookies/></source></mirror></disk>";
        assert!(!without(&document(twice)).to_string().contains("cookies"));
    }

    #[test]
    fn cookies_are_not_sent_to_another_server() {
        let before = "<disk><source protocol='https' name='a'><host name='h'/><cookies><cookie name='k'>v</cookie></cookies>\
                      </source><target dev='vda'/></disk>";
        for (from, to) in
            [("'h'", "'evil'"), ("https", "http"), ("<host", "<ssl verify='no'/><host"), ("'a'", "'b'")]
        {
            let after = without(&document(before)).to_string().replace(from, to);
            let mut tree = Document::parse(&after).unwrap();
            keep(&mut tree, &document(before));
            assert_eq!(tree.to_string(), after);
        }
    }

    #[test]
    fn displays_of_one_type_are_told_apart() {
        let [a, b] = [
            "<graphics type='vnc' port='5901' passwd='a'/>",
            "<graphics type='vnc' port='5902' passwd='b'/>",
        ];
        let bare = |text: &str| text.split(" passwd").next().unwrap().to_owned() + "/>";
        // One before the others, one away, and one that has changed beside one that has not.
        kept(
            &format!("{a}{b}"),
            &format!("<graphics type='vnc'/>{}{}", bare(a), bare(b)),
            &format!("<graphics type='vnc'/>{a}{b}"),
        );
        kept(&format!("{a}{b}"), &bare(b), b);
        let changed = "<graphics type='vnc' port='5903'/>";
        let with = "<graphics type='vnc' port='5903' passwd='a'/>";
        kept(&format!("{a}{b}"), &format!("{changed}{}", bare(b)), &format!("{with}{b}"));
    }

    #[test]
    fn many_displays_do_not_take_long() {
        let many = |attr: &str| {
            (0..20_000).map(|n| format!("<graphics type='vnc' n='{n}'{attr}/>")).collect::<String>()
        };
        kept(&many(" passwd='p'"), &many(""), &many(" passwd='p'"));
    }
}
