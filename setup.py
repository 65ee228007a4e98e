"""Packaging of PoseFix; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

OPENCV = ["opencv-python-headless>=4.8"]
TRAIN = ["timm>=1.0.9,<2", "albumentations>=2.0,<3"]
REPORT = ["jinja2>=3.1,<4"]
VIDEO = ["av>=12", "scipy>=1.11", *REPORT]
OPENVINO = ["openvino>=2024.4", "onnx>=1.15,<2"]  # both read the network as torch exports it, by onnx
C3D = ["ezc3d>=1.5"]
RAY = ["ray[client]>=2.10; python_version < '3.15'"]  # which has no wheels for newer ones yet
ONNX = ["onnxruntime>=1.17", "onnx>=1.15,<2"]
TEST = [
    "pytest>=8,<10",
    "hypothesis>=6.131,<7",
    "ruff>=0.6,<1",
    "mypy>=1.11,<3",
    "types-PyYAML",
    "playwright>=1.45",
    "pybvh>=0.9,<1",
]
EXPERIMENTS = ["matplotlib>=3.8,<4"]

setup(
    name="posefix",
    version="0.2.0.dev0",
    description="Refine human poses, whatever estimator they come from.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["posefix", "posefix.*", "synth", "synth.*"]), "posefix.configs"],
    package_dir={"posefix.configs": "configs"},
    package_data={
        "posefix": ["weights/*.safetensors", "weights/*.md", "demo/*", "report/templates/*.j2"],
        "posefix.configs": ["*.yaml", "*/*.yaml"],
    },
    # No OpenCV: whoever has a pose estimator mostly has one already, and two of its packages break each other.
    install_requires=[
        "torch>=2.5,<3",
        "numpy>=1.26,<3",
        "pillow>=10",
        "pycocotools>=2.0.8,<3",
        "click>=8.1,<9",
        "pyyaml>=6,<7",
        "pydantic>=2.7,<3",
        "safetensors>=0.4.3,<1",
        "msgspec>=0.18,<1",
        "rich>=13.7,<16",
    ],
    extras_require={
        "opencv": OPENCV,
        "train": TRAIN,
        "report": REPORT,
        "video": VIDEO,
        "openvino": OPENVINO,
        "onnx": ONNX,
        "c3d": C3D,
        "ray": RAY,
        "docs": ["mkdocs-material>=9.5,<10"],
        "dev": [*OPENCV, *TRAIN, *REPORT, *VIDEO, *OPENVINO, *ONNX, *C3D, *RAY, *TEST, *EXPERIMENTS],
    },
    entry_points={"console_scripts": ["posefix = posefix.cli.main:main"]},
)
