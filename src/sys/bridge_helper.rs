//! bridge_helper.
