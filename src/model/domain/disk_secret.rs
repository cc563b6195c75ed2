//! What a disk needs a secret for: `<encryption>` and `<auth>`. Owns libvirt's words for them; the secrets
//! themselves are never in a document.

use super::words::words;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<encryption>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Path of the element, for findings.
    pub path: String,
    /// `@format`.
    pub format: EncryptionFormat,
    /// `@engine`: who decrypts.
    pub engine: Option<EncryptionEngine>,
    /// `<secret>` elements.
    pub secrets: Vec<SecretRef>,
}

/// `<auth>`: as whom a server is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Path of the element, for findings.
    pub path: String,
    /// `@username`.
    pub username: String,
    /// `<secret>`.
    pub secret: Option<SecretRef>,
}

/// `<secret>`: one of libvirt's store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct SecretRef {
    pub kind: SecretKind,
    pub uuid: Option<String>,
    pub usage: Option<String>,
}

words! {
    /// `<encryption format>`.
    EncryptionFormat {
        Default = "default", Qcow = "qcow", Luks = "luks", Luks2 = "luks2", LuksAny = "luks-any"
    }
}

words! {
    /// `<encryption engine>`.
    EncryptionEngine { Qemu = "qemu", Librbd = "librbd" }
}

words! {
    /// `<secret type>`.
    SecretKind {
        None = "none", Volume = "volume", Ceph = "ceph", Iscsi = "iscsi", Tls = "tls", Vtpm = "vtpm",
        Passphrase = "passphrase",
    }
}

pub(super) fn encryption(view: &View<'_>) -> Option<Encryption> {
    let format = required(view.one_of("format", EncryptionFormat::WORDS), view, "format", "write luks");
    let engine = view.one_of("engine", EncryptionEngine::WORDS);
    let secrets = view.children("secret").iter().filter_map(secret).collect();
    Some(Encryption { path: view.path().to_owned(), format: format?, engine, secrets })
}

pub(super) fn auth(view: &View<'_>) -> Option<Auth> {
    let username = required(view.filled("username"), view, "username", "give the user's name");
    let secret = view.child("secret");
    if secret.is_none() {
        view.error("<auth> has no <secret>", "add <secret type='ceph' usage='…'/> or the like");
    }
    let secret = secret.and_then(|s| self::secret(&s));
    Some(Auth { path: view.path().to_owned(), username: username?.to_owned(), secret })
}

fn secret(view: &View<'_>) -> Option<SecretRef> {
    let kind = required(view.one_of("type", SecretKind::WORDS), view, "type", "write passphrase");
    let (uuid, usage) = (view.filled("uuid"), view.filled("usage"));
    if uuid.is_some() == usage.is_some() {
        view.error("a secret is named by its uuid or by its usage", "give one of the two");
    }
    Some(SecretRef { kind: kind?, uuid: uuid.map(str::to_owned), usage: usage.map(str::to_owned) })
}
