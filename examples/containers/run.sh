#!/usr/bin/env bash
# Builds the images of an ensemble and runs it in containers, with faults: examples/containers/run.sh BUNDLE [OPTIONS].
# Root and Podman; an image of Redis: REDIS (default docker.io/library/redis:7.4-alpine).
# BASE and TORCH_INDEX are passed to `raysplit image`; options to run.py.
set -euo pipefail
bundle=$1
shift
here=$(dirname "$0")
python=${PYTHON:-python}
if [ "$(id -u)" != 0 ] || ! command -v podman > /dev/null; then
    echo "skipped: needs root and Podman"
    exit 0
fi
options=()
[ -z "${BASE-}" ] || options+=(--base "$BASE")
[ -z "${TORCH_INDEX-}" ] || options+=(--torch-index "$TORCH_INDEX")
"$python" -m raysplit image "$bundle" --engine podman "${options[@]}"
podman images
"$python" "$here/run.py" "$bundle" --redis "${REDIS:-docker.io/library/redis:7.4-alpine}" "$@"
