//! Where Warren does otherwise than libvirt and means to. A case that turns out right does not belong here.

/// Folder and name of a case, and the reason.
pub const ON_PURPOSE: &[(&str, &str)] = &[
    ("libvirt/domain/net-client", CONNECTED),
    ("libvirt/domain/user-aliases", CONNECTED),
    ("libvirt/domain/devices-acpi-index", SAME_MAC),
    ("libvirt/domain/net-many-models", SAME_MAC),
    ("libvirt/domain/net-vhostuser-passt", SAME_MAC),
    (
        "libvirt/domain/net-virtio-teaming-network",
        "what its second interface is comes from a network of devices of the host, which the document does not \
         hold: Warren has no such networks yet and refuses the start by name",
    ),
];

/// Of a `client` interface.
const CONNECTED: &str = "QEMU 7.2 gives up when nobody answers and does not try again: Warren connects within 2 s, says which peer \
         does not answer, and hands QEMU the connected socket (`fd` instead of `connect`)";

const SAME_MAC: &str = "two interfaces of one guest have the same MAC address, without being a teaming pair: on one \
                        segment neither works, so it is refused by name";

/// The reason why a case may differ.
pub fn reason(name: &str) -> Option<&'static str> {
    ON_PURPOSE.iter().find(|(case, _)| *case == name).map(|(_, reason)| *reason)
}
