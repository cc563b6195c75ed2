//! Links, addresses and routes, over rtnetlink.
//!
//! Owns the translation between the kernel's messages and the few facts that are needed. Must never
//! open a socket: it is given one, which may belong to another namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_sys::TokioSocket;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

/// The largest that a bridge takes.
const MAX_MTU: u32 = 65535;

/// Bit 0 of a forwarding mask: the group address 01:80:c2:00:00:00 of the spanning tree.
const BPDUS: u16 = 1;

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NetlinkError {
    #[error("the netlink socket could not be had")]
    Socket(#[source] io::Error),
    #[error("the interface '{0}' already exists")]
    Exists(String),
    #[error("the kernel refused")]
    Refused(#[source] io::Error),
    #[error("netlink failed")]
    Other(#[source] Box<rtnetlink::Error>),
}

impl NetlinkError {
    /// Whether something of that name is there already.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Exists(_))
    }
}

impl From<rtnetlink::Error> for NetlinkError {
    fn from(e: rtnetlink::Error) -> Self {
        match e {
            rtnetlink::Error::NetlinkError(message) => Self::Refused(message.to_io()),
            e => Self::Other(Box::new(e)),
        }
    }
}

type Result<T> = std::result::Result<T, NetlinkError>;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// At most 15 bytes.
    pub name: String,
    /// What somebody noted on it; Warren's begin with `warren:`.
    pub alias: Option<String>,
    /// `bridge`, `tun`, `veth` …
    pub kind: Option<String>,
    /// Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// The bridge whose port it is.
    pub master: Option<u32>,
    /// Set up by an administrator.
    pub up: bool,
    /// In bytes.
    pub mtu: u32,
}

/// A bridge that is to be made.
#[derive(Debug, Clone)]
pub struct BridgeSpec {
    /// At most 15 bytes.
    pub name: String,
    /// Its address, which does not follow its ports'.
    pub mac: [u8; 6],
    /// Spanning tree.
    pub stp: bool,
    /// Before a new port forwards.
    pub delay_seconds: u32,
    /// In bytes. It stays, whatever the ports have.
    pub mtu: u32,
    /// Noted on it.
    pub alias: String,
}

/// How a bridge treats one of its ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortSpec {
    /// It does not reach other ports that are isolated.
    pub isolated: bool,
    /// Frames of the spanning tree protocol from it go to the other ports as data, and the bridge itself ignores
    /// them. Else whoever is behind the port can become the root, set the bridge's timers, or make it forget which
    /// address is behind which port.
    pub passes_bpdus: bool,
}

/// Who answers for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; a default route has the length 0.
    pub dst: IpNet,
    /// Through which interface.
    pub oif: Option<u32>,
}

/// A connection to the kernel.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Over an open routing netlink socket.
    pub(super) fn over(socket: OwnedFd) -> Result<Self> {
        // SAFETY: the descriptor is a netlink socket that we own, and give up here.
        let socket = unsafe { TokioSocket::from_raw_fd(socket.into_raw_fd()) };
        let (connection, handle, _) = rtnetlink::from_socket(socket);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// All interfaces.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let messages: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        Ok(messages.into_iter().map(link).collect())
    }

    /// The interface of that name.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut answer = self.handle.link().get().match_name(name).execute();
        match answer.try_next().await.map_err(NetlinkError::from) {
            Ok(message) => Ok(message.map(link)),
            Err(NetlinkError::Refused(e)) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a bridge, not up yet; answers its index.
    pub async fn create_bridge(&self, spec: &BridgeSpec) -> Result<u32> {
        // The kernel refuses a delay under 2 s while the spanning tree is on; the order below, which is
        // also the kernel's order of reading, sets the delay first. It counts in hundredths of a second.
        // Snooping would let a guest that plays the multicast router decide which groups reach the others.
        let bridge = LinkBridge::new(&spec.name)
            .down()
            .address(spec.mac.to_vec())
            .mcast_snooping(false)
            .forward_delay(spec.delay_seconds.saturating_mul(100))
            .stp_state(if spec.stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled });
        match self.handle.link().add(bridge.build()).execute().await.map_err(NetlinkError::from) {
            Err(NetlinkError::Refused(e)) if e.raw_os_error() == Some(libc::EEXIST) => {
                return Err(NetlinkError::Exists(spec.name.clone()));
            }
            other => other?,
        }
        let made = self
            .link(&spec.name)
            .await?
            .ok_or_else(|| NetlinkError::Refused(io::ErrorKind::NotFound.into()))?;
        // The kernel reads no alias when it makes a link, and an MTU that is set then follows the ports'.
        self.set_alias(made.index, &spec.alias).await?;
        self.fix_mtu(&made, spec.mtu).await?;
        Ok(made.index)
    }

    /// Gives a bridge an MTU that its ports do not change. The kernel otherwise follows the lowest of theirs, and
    /// below 1280 bytes it removes the bridge's IPv6 addresses for good.
    pub async fn fix_mtu(&self, bridge: &Link, mtu: u32) -> Result<()> {
        if bridge.mtu == mtu {
            // Setting what is set already does nothing, not even fix it. Upwards, since nothing is dropped for that.
            let other = if mtu < MAX_MTU { mtu + 1 } else { mtu - 1 };
            self.set_mtu(bridge.index, other).await?;
        }
        self.set_mtu(bridge.index, mtu).await
    }

    /// What [`Self::create_bridge`] does against the influence of ports, for a bridge that an older service has made.
    pub async fn shield_bridge(&self, bridge: &Link, mtu: u32) -> Result<()> {
        let change = LinkBridge::new(&bridge.name).mcast_snooping(false);
        self.handle.link().change(change.build()).execute().await?;
        self.fix_mtu(bridge, mtu).await
    }

    async fn set(&self, change: LinkMessageBuilder<LinkUnspec>) -> Result<()> {
        Ok(self.handle.link().set(change.build()).execute().await?)
    }

    /// Notes something on an interface.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<()> {
        self.set(LinkUnspec::new_with_index(index).alias(alias)).await
    }

    /// Makes an interface a bridge's port, or nobody's.
    pub async fn set_master(&self, index: u32, master: Option<u32>) -> Result<()> {
        self.set(LinkUnspec::new_with_index(index).controller(master.unwrap_or(0))).await
    }

    /// Sets a bridge's port up. It must be a port already.
    pub async fn set_port(&self, index: u32, port: PortSpec) -> Result<()> {
        let change = LinkBridgePort::new(index).isolated(port.isolated);
        let change = if port.passes_bpdus { change.group_fwd_mask(BPDUS) } else { change };
        Ok(self.handle.link().set_port(change.build()).execute().await?)
    }

    /// Sets an interface up or down.
    pub async fn set_up(&self, index: u32, up: bool) -> Result<()> {
        let change = LinkUnspec::new_with_index(index);
        self.set(if up { change.up() } else { change.down() }).await
    }

    /// Sets the largest packet, in bytes.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<()> {
        self.set(LinkUnspec::new_with_index(index).mtu(mtu)).await
    }

    /// Sets the Ethernet address.
    pub async fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        self.set(LinkUnspec::new_with_index(index).address(mac.to_vec())).await
    }

    /// Gives an interface an address.
    pub async fn add_address(&self, index: u32, net: IpNet) -> Result<()> {
        Ok(self.handle.address().add(index, net.addr(), net.prefix_len()).execute().await?)
    }

    /// Gives an interface an address, and says which one is at the other end of its cable.
    pub async fn add_address_with_peer(&self, index: u32, net: IpNet, peer: IpAddr) -> Result<()> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len());
        // On a point-to-point link Local is ours and Address the peer's; there is no broadcast.
        let attributes = vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(peer)];
        request.message_mut().attributes = attributes;
        Ok(request.execute().await?)
    }

    /// All addresses with their interfaces.
    pub async fn addresses(&self) -> Result<Vec<(u32, IpNet)>> {
        let messages: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let mut found = Vec::new();
        for message in messages {
            let mut address = None;
            for attribute in &message.attributes {
                match attribute {
                    // On a point-to-point link Local is ours and Address the peer's.
                    AddressAttribute::Local(ip) => address = Some(*ip),
                    AddressAttribute::Address(ip) => address = address.or(Some(*ip)),
                    _ => {}
                }
            }
            let net = address.and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok());
            found.extend(net.map(|net| (message.header.index, net)));
        }
        Ok(found)
    }

    /// All unicast routes of both families, but for those to the host itself.
    pub async fn routes(&self) -> Result<Vec<Route>> {
        let v4 = RouteMessageBuilder::<std::net::Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<std::net::Ipv6Addr>::new().build();
        let mut found = Vec::new();
        for query in [v4, v6] {
            let v6 = query.header.address_family == rtnetlink::packet_route::AddressFamily::Inet6;
            let messages: Vec<_> = self.handle.route().get(query).execute().try_collect().await?;
            for message in messages.iter().filter(|m| m.header.kind == RouteType::Unicast) {
                let unspecified: IpAddr = if v6 {
                    std::net::Ipv6Addr::UNSPECIFIED.into()
                } else {
                    std::net::Ipv4Addr::UNSPECIFIED.into()
                };
                let (mut dst, mut oif) = (unspecified, None);
                for attribute in &message.attributes {
                    match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(ip)) => dst = (*ip).into(),
                        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => dst = (*ip).into(),
                        RouteAttribute::Oif(index) => oif = Some(*index),
                        _ => {}
                    }
                }
                let net = IpNet::new(dst, message.header.destination_prefix_length);
                found.extend(net.map(|dst| Route { dst, oif }));
            }
        }
        Ok(found)
    }

    /// Who has answered for an address on this interface, and is not known to be gone.
    pub async fn neighbours(&self, index: u32) -> Result<Vec<Neighbour>> {
        let messages: Vec<_> = self.handle.neighbours().get().execute().try_collect().await?;
        let gone = [NeighbourState::Failed, NeighbourState::Incomplete, NeighbourState::Noarp];
        let here = |m: &&NeighbourMessage| m.header.ifindex == index && !gone.contains(&m.header.state);
        Ok(messages.iter().filter(here).filter_map(neighbour).collect())
    }

    /// Nothing is known any more of who answers on this interface with that Ethernet address.
    pub async fn forget_neighbour(&self, index: u32, mac: [u8; 6]) -> Result<()> {
        let messages: Vec<_> = self.handle.neighbours().get().execute().try_collect().await?;
        let its = |m: &NeighbourMessage| {
            m.header.ifindex == index && neighbour(m).is_some_and(|neighbour| neighbour.mac == mac)
        };
        for message in messages.into_iter().filter(its) {
            match self.handle.neighbours().del(message).execute().await.map_err(NetlinkError::from) {
                Err(NetlinkError::Refused(e)) if e.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Leads to `dst` through `gateway`, which is reached by an interface that is up. It goes with the interface.
    pub async fn add_route(&self, index: u32, dst: IpNet, gateway: IpAddr, metric: u32) -> Result<()> {
        let message = match (dst, gateway) {
            (IpNet::V4(dst), IpAddr::V4(gateway)) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(dst.network(), dst.prefix_len())
                .gateway(gateway)
                .output_interface(index)
                .priority(metric)
                .build(),
            (IpNet::V6(dst), IpAddr::V6(gateway)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(dst.network(), dst.prefix_len())
                .gateway(gateway)
                .output_interface(index)
                .priority(metric)
                .build(),
            _ => return Err(NetlinkError::Refused(io::ErrorKind::InvalidInput.into())),
        };
        Ok(self.handle.route().add(message).execute().await?)
    }

    /// Removes an interface; one that is gone is as good.
    pub async fn delete(&self, index: u32) -> Result<()> {
        match self.handle.link().del(index).execute().await.map_err(NetlinkError::from) {
            Err(NetlinkError::Refused(e)) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some((*ip).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some((*ip).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour { address: address?, mac: mac? })
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
        kind: None,
        mac: None,
        master: None,
        up: message.header.flags.contains(LinkFlags::Up),
        mtu: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(mac) => link.mac = mac.try_into().ok(),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(info) => link.kind = kind(&info),
            _ => {}
        }
    }
    link
}

fn kind(info: &[LinkInfo]) -> Option<String> {
    info.iter().find_map(|i| match i {
        LinkInfo::Kind(InfoKind::Bridge) => Some("bridge".to_owned()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
