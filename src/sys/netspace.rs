//! netspace.
