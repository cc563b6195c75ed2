//! End to end: real guests, real networks, real buses, each test in a world of its own.
//!
//! One binary, so that it is linked once; one module for each theme.

#[path = "../common/mod.rs"]
mod common;

mod acknowledged;
mod addresses;
mod agent;
mod bad_input;
mod callers;
mod callers_table;
mod children;
mod cleanup;
mod cli;
mod clients;
mod confined;
mod contract;
mod crash;
mod deadlines;
mod descriptors;
mod disks;
mod displays;
mod documents;
mod examples;
mod firmware;
mod flood;
mod foreign;
mod harness;
mod host_forwarding;
mod hostile;
mod hostile_files;
mod hostile_limits;
mod kept_apart;
mod leftovers;
mod life;
mod load;
mod lost_records;
mod network_rights;
mod networks;
mod nics;
mod origin;
mod rights;
mod scopes;
mod secrets;
mod session;
mod shared;
mod sockets;
mod subscribe;
mod system;
mod tree;
mod unseen;
mod whose_rights;
mod whose_rights_table;
