//! End to end: real guests, real networks, real buses, each test in a world of its own.
//!
//! One binary, so that it is linked once; one module for each theme.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod cleanup;
mod clients;
mod contract;
mod crash;
mod disks;
mod documents;
mod examples;
mod harness;
mod networks;
mod nics;
mod origin;
mod scopes;
mod session;
mod sockets;
mod system;
