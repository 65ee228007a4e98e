#!/bin/sh
# Make a virtual environment with this project and its development tools: tools/setup_venv.sh [FOLDER]
#
# torch is asked for by version: pip then takes a CPU build of that version where it has one at hand, such as with
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, and the torchvision that fits it.
set -eu
venv=${1:-.venv}
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet -e ".[dev,docs]" "torch==${TORCH_VERSION:-2.13.0}"
