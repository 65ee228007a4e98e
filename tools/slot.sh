#!/bin/sh
# Train in a short slot on a machine with a GPU and no network: tools/slot.sh FOLDER OUT MINUTES [OPTIONS OF tools.slot train]
#
# FOLDER is what "python -m tools.slot pack" made. Wheels in it are installed beside it, not into the machine's Python.
set -eu
usage="usage: sh tools/slot.sh FOLDER OUT MINUTES [--parts PARTS]"
folder=${1:?$usage} out=${2:?$usage} minutes=${3:?$usage}
shift 3
root=$(cd "$(dirname "$0")/.." && pwd -P)
started=$(date +%s)
if [ -d "$folder/wheels" ] && [ ! -d "$folder/site" ]; then
  rm -rf "$folder/site.part"
  python3 -m pip install --quiet --no-index --no-deps --target "$folder/site.part" "$folder"/wheels/*.whl
  mv "$folder/site.part" "$folder/site"
fi
export PYTHONSAFEPATH=1 PYTHONPATH="$root:$folder/site${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m tools.slot train "$folder" --out "$out" --minutes "$minutes" --started "$started" "$@"
