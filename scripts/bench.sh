#!/bin/bash
# Measures Warren and writes docs/performance.md; called by `make bench` after its set-up.
#
# All of it happens in namespaces of its own, as root (by sudo): the machine's network and services are not
# touched. BENCH_ROUNDS is how often each thing is measured.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${BENCH_ROUNDS:-15}
cargo build --release --locked --bin warrend --example empty-service
target=$(cargo metadata --format-version 1 --no-deps --offline | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# In the namespaces /run is empty, and the shell is process 1: it reaps what loses its parent.
inside='mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run && mount -t sysfs sysfs /sys &&
    ip link set lo up && mkdir /run/bench && cp "$1" "$2" /run/bench &&
    /usr/bin/python3 benches/bench.py /run/bench/warrend /run/bench/empty-service "$3"; exit $?'
scripts/as-root.sh setpriv --pdeathsig KILL unshare --net --mount --ipc --pid --fork --mount-proc --kill-child \
    bash -ec "$inside" bench "$target/release/warrend" "$target/release/examples/empty-service" "$rounds"
