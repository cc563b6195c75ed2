//! The daemon's program: arguments, helper modes, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The helper modes must not have threads, so they are told apart before anything is started.
    let mode = std::env::args_os().nth(1);
    match mode.as_deref().and_then(|m| m.to_str()) {
        Some("nethost") => warren::sys::nethost::serve(std::env::args_os().skip(2)),
        Some("open-images") => warren::sys::images::serve(std::env::args_os().skip(2)),
        _ => warren::daemon::main(),
    }
}
