//! Findings on a whole document.
