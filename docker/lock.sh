#!/usr/bin/env bash
# Pins everything that the images install, with hashes, for Python 3.11 on Linux: writes server.lock and device.lock.
# Needs uv. torch itself is left out: its wheel depends on TORCH_INDEX, and the Dockerfiles name its version.
set -euo pipefail
cd "$(dirname "$0")"
export UV_INDEX="${TORCH_INDEX-https://download.pytorch.org/whl/cpu}"
for role in server device; do
    uv pip compile "$role.in" --quiet --generate-hashes --python-version 3.11 --no-emit-package torch \
        --no-annotate --custom-compile-command docker/lock.sh --output-file "$role.lock"
done
