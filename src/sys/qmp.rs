//! qmp.
