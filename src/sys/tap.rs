//! tap.
