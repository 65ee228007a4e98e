#!/bin/sh
# Use a wheel as its users do, from an empty folder, with the least that it needs: tools/check_wheel.sh WHEEL
set -eu
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet "$wheel[opencv]" "torch==${TORCH_VERSION:-2.13.0}"
mkdir photos
venv/bin/python - <<'END'
import json

import cv2
import numpy as np

rng = np.random.default_rng(0)
cv2.imwrite("photos/000001.png", rng.integers(0, 256, (240, 320, 3)).astype(np.uint8))
keypoints = np.concatenate([rng.uniform(50, 200, (17, 2)), np.full((17, 1), 0.5)], axis=1)
with open("results.json", "w") as file:
    json.dump([{"image_id": 1, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 0.9}], file)
END
venv/bin/posefix refine --detection_json results.json --images photos --out refined.json
venv/bin/posefix convert refined.json --to openpose --images photos --out openpose
test -s refined.json && test -s openpose/000001_keypoints.json
# What an extra installs is asked for in one sentence.
touch film.mp4
venv/bin/posefix refine --detection_json results.json --video_path film.mp4 --out again.json 2>&1 \
  | grep "pip install \"\.\[video\]\""
