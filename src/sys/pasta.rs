//! pasta.
