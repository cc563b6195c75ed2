#!/bin/bash
# Format, lints, all tests, then the package's life in a booted Debian; called by `make test` after its set-up.
# Ends with a summary: what each runner found, and the minutes that it took.
#
# A test that could not run says so in a line that begins with "NOT RUN:"; the summary counts these.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# runner NAME COMMAND...: its output goes here and into the log, with what the summary reads.
runner() {
    local name=$1 began=$SECONDS result=0
    shift
    printf '\n== %s\n' "$name"
    "$@" 2>&1 | tee -a "$log" || result=$?
    printf 'runner: %s: %s seconds, status %s\n' "$name" "$((SECONDS - began))" "$result" >>"$log"
    return "$result"
}

tests() {
    # Two at a time: each end-to-end test has one or two emulated guests, which take a core each.
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$PWD/scripts/as-root.sh" \
        cargo test --locked --no-fail-fast -- --test-threads=2
}

summary() {
    printf '\n== summary\n'
    awk '
        function minutes(seconds) { return sprintf("%6.1f min", seconds / 60) }
        /^ *Running / { binary = $2 == "unittests" ? $3 : $2; next }
        /^ *Doc-tests / { binary = "doc-tests of " $2; next }
        /^test result:/ {
            passed += $4; failed += $6; ignored += $8
            seconds = $NF; sub("s$", "", seconds)
            printf "%s  %s: %d passed, %d failed\n", minutes(seconds), binary, $4, $6
        }
        /^boot: [0-9]+ of [0-9]+ steps passed/ { passed += $2; failed += $4 - $2; steps = $2 " of " $4 " steps passed" }
        /NOT RUN:/ { skipped++ }
        match($0, /^runner: .*: [0-9]+ seconds, status [0-9]+$/) {
            name = $0; sub("^runner: ", "", name); sub(": [0-9]+ seconds, status [0-9]+$", "", name)
            status = $NF; seconds = $(NF - 3); all += seconds
            said = status == 0 ? "ok" : "FAILED with status " status
            if (name == "package" && steps != "") said = said ", " steps
            printf "%s  %s: %s\n", minutes(seconds), name, said
        }
        END {
            printf "%s  together\n", minutes(all)
            printf "%d passed, %d failed, %d ignored, NOT RUN: %d\n", passed, failed, ignored, skipped
        }' "$log"
}

status=0
{
    runner format cargo fmt --all --check &&
        runner lints cargo clippy --all-targets --locked -- -D warnings &&
        runner build cargo build --locked --all-targets
} || status=$?
if [ "$status" = 0 ]; then
    runner tests tests || status=$?
    runner package scripts/test-boot.sh || status=$?
fi
summary
exit "$status"
