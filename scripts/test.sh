#!/bin/bash
# Format, lints, all tests, then the package's life in a booted Debian; called by `make test` after its set-up.
# Ends with a summary.
#
# A test that could not run says so in a line that begins with "NOT RUN:"; the summary counts these.
set -euo pipefail
cd "$(dirname "$0")/.."

heading() { printf '\n== %s\n' "$*"; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT

heading "format"
cargo fmt --all --check
heading "lints"
cargo clippy --all-targets --locked -- -D warnings
heading "tests"
cargo build --locked --all-targets
status=0
# Two at a time: each end-to-end test has one or two emulated guests, which take a core each.
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/scripts/as-root.sh" \
    cargo test --locked --no-fail-fast -- --test-threads=2 2>&1 | tee "$log" || status=$?

heading "package"
scripts/test-boot.sh 2>&1 | tee -a "$log" || status=$?

heading "summary"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     /^boot: [0-9]+ of [0-9]+ steps passed/ { passed += $2; failed += $4 - $2 }
     /NOT RUN:/ { skipped++ }
     END { printf "%d passed, %d failed, %d ignored, NOT RUN: %d\n", passed, failed, ignored, skipped }' "$log"
exit "$status"
