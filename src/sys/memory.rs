//! The memory that the service has taken from the kernel. Owns how the C library keeps it; must never be needed for
//! anything to be right, only for what is freed to be given back.
//!
//! glibc keeps freed memory for each thread apart, and what it keeps grows with the largest piece that was ever
//! freed. A document of some megabytes is read into a tree twenty times its size, on any of many threads: each of
//! them would keep that for good.

/// From this size on a piece is mapped by itself, and unmapped when it is freed.
const MAPPED: i32 = 256 << 10;

/// Sets how memory is kept. For the beginning of the service, before there are threads.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers. A value that is not taken changes nothing, and one that is said is not raised by what is
    // freed. How many arenas there are is left as it is: threads that share one wait for each other.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
    }
}

/// Gives back to the kernel what is free. It takes some milliseconds: for after large work, off the thread that
/// answers callers.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no arguments but a number, and locks for itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
