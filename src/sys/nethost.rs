//! nethost.
