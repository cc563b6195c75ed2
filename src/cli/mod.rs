//! `warrenctl`: a client of the bus for people and scripts.
//!
//! Owns words on a terminal: verbs, tables, JSON, exit codes. Must never touch the host: all it does
//! goes over D-Bus.
