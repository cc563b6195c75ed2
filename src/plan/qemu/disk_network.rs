//! Disks on the network: which server QEMU reads from, and how. What is secret is never an argument.

use serde_json::{Value, json};

use super::{ImageFd, Plan, set};
use crate::model::{NetworkHost, NetworkSource, Protocol, Transport};

/// The node's driver with all that tells it its server.
pub(super) fn server(
    plan: &mut Plan<'_>,
    source: &NetworkSource,
    handed: Option<&ImageFd>,
    node: &str,
) -> Value {
    match source.protocol {
        Protocol::Nbd => nbd(source, handed),
        Protocol::Http | Protocol::Https | Protocol::Ftp | Protocol::Ftps | Protocol::Tftp => {
            curl(plan, source, node)
        }
        Protocol::Iscsi => iscsi(source, node),
        Protocol::Rbd => rbd(source, node),
        Protocol::Gluster => gluster(source),
        Protocol::Ssh => ssh(source),
        Protocol::Nfs => nfs(source),
        Protocol::Sheepdog => {
            json!({ "driver": "sheepdog", "server": inet(source.hosts.first(), source.protocol.port()), "vdi": source.name })
        }
        Protocol::Vxhs => {
            json!({ "driver": "vxhs", "vdisk-id": source.name, "server": inet(source.hosts.first(), source.protocol.port()) })
        }
    }
}

/// A host and its port as QEMU's `InetSocketAddressBase`.
fn inet(host: Option<&NetworkHost>, port: u16) -> Value {
    let name = host.map_or("localhost", |h| h.name.as_str());
    json!({ "host": name, "port": host.and_then(|h| h.port).unwrap_or(port).to_string() })
}

/// The same as QEMU's `SocketAddress`.
fn socket(host: Option<&NetworkHost>, port: u16) -> Value {
    if let Some(path) = host.and_then(|h| h.socket.as_ref()) {
        return json!({ "type": "unix", "path": path.display().to_string() });
    }
    let at = inet(host, port);
    json!({ "type": "inet", "host": at["host"], "port": at["port"] })
}

fn nbd(source: &NetworkSource, handed: Option<&ImageFd>) -> Value {
    // A socket of this host was connected by Warren, with the owner's rights.
    let server = match handed {
        Some(fd) => json!({ "type": "fd", "str": fd.fd.to_string() }),
        None => socket(source.hosts.first(), source.protocol.port()),
    };
    let mut node = json!({ "driver": "nbd", "server": server });
    set(&mut node, "export", source.name.clone());
    set(&mut node, "tls-hostname", source.tls_hostname.clone());
    set(&mut node, "reconnect-delay", source.reconnect_delay);
    node
}

fn curl(plan: &mut Plan<'_>, source: &NetworkSource, node: &str) -> Value {
    let port = source.protocol.port();
    let mut blockdev = json!({ "driver": source.protocol.as_str(), "url": url(source, port) });
    if let Some(auth) = &source.auth {
        blockdev["username"] = auth.username.as_str().into();
        blockdev["password-secret"] = format!("{node}-auth-secret0").into();
    }
    set(&mut blockdev, "sslverify", source.ssl_verify);
    if let Some(cookies) = source.cookie_text() {
        let id = format!("{node}-httpcookie-secret0");
        let file = plan.sealed(cookies.into_bytes());
        plan.args.json("-object", &json!({ "qom-type": "secret", "id": id, "file": file, "format": "raw" }));
        blockdev["cookie-secret"] = id.into();
    }
    set(&mut blockdev, "timeout", source.timeout);
    set(&mut blockdev, "readahead", source.readahead);
    blockdev
}

fn url(source: &NetworkSource, port: u16) -> String {
    let host = source.hosts.first();
    let name = host.map_or("localhost", |h| h.name.as_str());
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let port = host.and_then(|h| h.port).unwrap_or(port);
    let path = source.name.as_deref().unwrap_or("").trim_start_matches('/');
    let mut url = format!("{}://{name}:{port}/{}", source.protocol.as_str(), escaped(path));
    if let Some(query) = &source.query {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// What cannot stand in the path of a URL, in percents.
fn escaped(path: &str) -> String {
    let stands = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()/:@&=+$,;".contains(&b);
    path.bytes().fold(String::new(), |mut url, b| {
        if stands(b) {
            url.push(char::from(b));
        } else {
            url.push_str(&format!("%{b:02X}"));
        }
        url
    })
}

/// The name is the target with the unit after a slash.
fn iscsi(source: &NetworkSource, node: &str) -> Value {
    let name = source.name.as_deref().unwrap_or("");
    let (target, lun) = name.split_once('/').unwrap_or((name, "0"));
    let at = inet(source.hosts.first(), source.protocol.port());
    let (host, port) = (at["host"].as_str().unwrap_or_default(), at["port"].as_str().unwrap_or_default());
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let rdma = source.hosts.first().is_some_and(|h| h.transport == Transport::Rdma);
    let mut blockdev = json!({
        "driver": "iscsi",
        "portal": format!("{host}:{port}"),
        "target": target,
        "lun": lun.parse::<u64>().unwrap_or(0),
        "transport": if rdma { "iser" } else { "tcp" },
    });
    if let Some(auth) = &source.auth {
        blockdev["user"] = auth.username.as_str().into();
        blockdev["password-secret"] = format!("{node}-auth-secret0").into();
    }
    set(&mut blockdev, "initiator-name", source.initiator.clone());
    blockdev
}

/// The name is the pool, perhaps a namespace, and the image, with slashes.
fn rbd(source: &NetworkSource, node: &str) -> Value {
    let parts: Vec<&str> = source.name.as_deref().unwrap_or("").split('/').collect();
    let (pool, space, image) = match parts[..] {
        [pool, space, image] => (pool, Some(space), image),
        [pool, image] => (pool, None, image),
        _ => ("rbd", None, parts[0]),
    };
    let mut blockdev = json!({ "driver": "rbd", "pool": pool });
    set(&mut blockdev, "namespace", space);
    blockdev["image"] = image.into();
    if !source.hosts.is_empty() {
        blockdev["server"] = source.hosts.iter().map(|h| inet(Some(h), source.protocol.port())).collect();
    }
    set(&mut blockdev, "snapshot", source.snapshot.clone());
    set(&mut blockdev, "conf", source.config.as_ref().map(|c| c.display().to_string()));
    if let Some(auth) = &source.auth {
        blockdev["user"] = auth.username.as_str().into();
        blockdev["auth-client-required"] = json!(["cephx", "none"]);
        blockdev["key-secret"] = format!("{node}-auth-secret0").into();
    }
    blockdev
}

/// The name is the volume and the path in it.
fn gluster(source: &NetworkSource) -> Value {
    let name = source.name.as_deref().unwrap_or("");
    let (volume, path) = name.split_once('/').unwrap_or((name, ""));
    let servers: Value = source.hosts.iter().map(|h| socket(Some(h), source.protocol.port())).collect();
    json!({ "driver": "gluster", "volume": volume, "path": path, "server": servers })
}

fn ssh(source: &NetworkSource) -> Value {
    let mut blockdev = json!({ "driver": "ssh", "path": source.name, "server": inet(source.hosts.first(), source.protocol.port()) });
    let user = source.auth.as_ref().map(|a| a.username.clone());
    let user = user.or_else(|| source.identity.as_ref().and_then(|i| i.username.clone()));
    set(&mut blockdev, "user", user);
    blockdev
}

fn nfs(source: &NetworkSource) -> Value {
    let host = source.hosts.first().map_or("localhost", |h| h.name.as_str());
    let path = source.name.as_deref().unwrap_or("");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut blockdev = json!({ "driver": "nfs", "server": { "host": host, "type": "inet" }, "path": path });
    let number =
        |id: &Option<String>| id.as_ref().and_then(|t| t.trim_start_matches('+').parse::<i64>().ok());
    let identity = source.identity.as_ref();
    set(&mut blockdev, "user", identity.and_then(|i| number(&i.user)));
    set(&mut blockdev, "group", identity.and_then(|i| number(&i.group)));
    blockdev
}
