#!/bin/sh
# Make a virtual environment with this project and its development tools: tools/setup_venv.sh [FOLDER]
#
# torch is asked for by version (TORCH_VERSION), together with all the rest: pip then takes a CPU build of it where one is at
# hand, and a torchvision that fits it. Left to itself it takes the newest torchvision, and the newest torch for that.
set -eu
venv=${1:-.venv}
"${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet -e ".[dev]" "torch==${TORCH_VERSION:-2.13.0}" || pip install --quiet -e ".[dev]"
# Only for a video of people that it ships, which the demo shows; its own dependencies would be a gigabyte.
pip install --quiet --no-deps "sports2d==0.8.34" || echo "no sports2d: the demo shows portraits only" >&2
