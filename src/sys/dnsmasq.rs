//! dnsmasq.
