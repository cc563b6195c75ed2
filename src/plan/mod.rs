//! Pure compilers from definitions to what is to be done.
//!
//! Owns the completion of a document, the findings on it, the privileges it needs, QEMU's arguments, dnsmasq's
//! configuration, firewall rules and the steps that make links. Must never do I/O, wait, ask a clock or draw
//! random numbers that were not passed in.

pub mod check;
pub mod complete;
pub mod dnsmasq;
pub mod firewall;
pub mod firmware_choice;
pub mod host;
pub mod loopback;
pub mod ports;
pub mod privileges;
pub mod qemu;
pub mod secrets;
pub mod taps;
pub mod update;
