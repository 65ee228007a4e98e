#!/bin/sh
# Make a virtual environment with this project and its development tools: tools/setup_venv.sh [FOLDER]
#
# On a machine without an NVIDIA GPU a CPU build of torch is preferred where pip can find one, here tried by version, since
# the newest build from PyPI brings gigabytes of CUDA libraries; otherwise pip's own choice is taken.
set -eu
venv=${1:-.venv}
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade pip || true
if ! command -v nvidia-smi >/dev/null 2>&1; then
	"$venv/bin/python" -m pip install --quiet "torch==${TORCH_VERSION:-2.13.0}" ||
		echo "torch ${TORCH_VERSION:-2.13.0} is not to be had here; taking pip's choice" >&2
fi
"$venv/bin/python" -m pip install --quiet -e ".[dev]"
