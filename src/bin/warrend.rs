//! The daemon, and the hidden modes in which it runs itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("open-images") => warren::sys::images::serve(),
        _ => ExitCode::SUCCESS,
    }
}
