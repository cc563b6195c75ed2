//! netlink.
