#!/bin/sh
# Train in a short slot on a machine with a GPU and no network: tools/slot.sh FOLDER OUT MINUTES [OPTIONS OF tools.slot train]
#
# FOLDER is what "python -m tools.slot pack" made. Wheels in it are installed beside it, not into the machine's Python.
set -eu
folder=$1 out=$2 minutes=$3
shift 3
if [ -d "$folder/wheels" ] && [ ! -d "$folder/site" ]; then
  python3 -m pip install --quiet --no-index --no-deps --target "$folder/site" "$folder"/wheels/*.whl
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m tools.slot train "$folder" --out "$out" --minutes "$minutes" "$@"
