#!/bin/bash
# Runs a test binary as root, which end-to-end tests need for namespaces of their own; cargo calls this.
set -euo pipefail
[ "$(id -u)" != 0 ] || exec "$@"
exec sudo --preserve-env "PATH=$PATH" "$@"
