//! The harness of the end-to-end tests: worlds of their own for tests, buses, the daemon, guests.
//!
//! Owns everything that a test starts: it dies with the test, however that ends, since each test runs
//! in namespaces of its own (see [`world`]). Must never touch the machine's own network, processes or
//! files outside the build directory. What is missing on the machine fails the test with its reason; no
//! test is ever skipped.

mod bus;
mod capture;
mod client;
mod daemon;
mod guest;
mod monitor;
mod service;
mod snapshot;
mod world;

pub(crate) use bus::{Bus, Polkit};
pub(crate) use capture::{Capture, holds, join_group};
pub(crate) use client::{Client, Object, Options, Signals, assert_error, error_name, text};
pub(crate) use daemon::Daemon;
pub(crate) use guest::{Console, GuestXml, Turn, clock, example, guest_files};
pub(crate) use monitor::Monitor;
pub(crate) use service::Service;
pub(crate) use snapshot::{HostState, none_runs};
pub(crate) use world::{ALICE, BOB, CAROL, World, command_as, eventually, world, world_alone};
