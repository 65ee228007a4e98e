#!/bin/sh
# Make a virtual environment with this project and its development tools: tools/setup_venv.sh [FOLDER]
#
# torch is installed first, by version: where pip has a CPU build of that version at hand (a local wheel, a mirror) it takes
# it, instead of gigabytes of CUDA libraries that a machine without an NVIDIA GPU has no use for.
set -eu
venv=${1:-.venv}
torch=${TORCH_VERSION:-2.13.0}
"${PYTHON:-python3}" -m venv "$venv"
if ! command -v nvidia-smi >/dev/null 2>&1; then
	"$venv/bin/python" -m pip install --quiet "torch==$torch" || echo "torch $torch is not to be had; taking pip's choice" >&2
fi
"$venv/bin/python" -m pip install --quiet -e ".[dev]"
# Only for a video of people that it ships, which the demo shows; its own dependencies would be a gigabyte.
"$venv/bin/python" -m pip install --quiet --no-deps "sports2d==0.8.34" || echo "no sports2d: the demo shows portraits only" >&2
