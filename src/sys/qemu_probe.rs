//! qemu_probe.
