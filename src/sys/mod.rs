//! Effects on the host: the only room that touches the kernel, other programs and QEMU.
//!
//! Owns netlink, TAP devices, namespaces, processes, nft, dnsmasq, pasta, image files and QMP. Must
//! never import `model`: it is told plain names, addresses and descriptors.
#![expect(unsafe_code, reason = "system calls that no safe library wraps; each with its SAFETY")]

pub mod advertised;
pub mod bridge_helper;
pub mod connect;
pub mod console;
pub mod copy;
pub mod dirs;
pub mod dnsmasq;
pub mod file_watch;
pub mod firmware;
pub mod images;
pub mod landlock;
pub mod listeners;
pub mod memory;
pub mod nethost;
pub mod netlink;
pub mod netspace;
pub mod nft;
mod own_root;
pub mod pasta;
pub mod process;
pub mod qemu_probe;
pub mod qmp;
mod received;
pub mod resolve;
pub mod systemd;
pub mod tap;
pub mod unix;
