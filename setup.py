"""Packaging of PoseFix; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name="posefix",
    version="0.1.0",
    description="Refine human poses, whatever estimator they come from.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["posefix", "posefix.*", "synth", "synth.*"]), "posefix.configs"],
    package_dir={"posefix.configs": "configs"},
    package_data={
        "posefix": ["weights/*.safetensors", "weights/*.md", "demo/*.json", "report/templates/*.j2"],
        "posefix.configs": ["*.yaml", "*/*.yaml"],
    },
    install_requires=[
        "torch>=2.2,<3",
        "timm>=1.0.9,<2",
        "numpy>=1.26,<3",
        "pycocotools>=2.0.8,<3",
        "opencv-python-headless>=5,<6",
        "albumentations>=2.0,<3",
        "click>=8.1,<9",
        "pyyaml>=6,<7",
        "pydantic>=2.6,<3",
        "safetensors>=0.4.3,<1",
        "rich>=13.7,<16",
        "jinja2>=3.1,<4",
        "matplotlib>=3.8,<4",
    ],
    extras_require={
        "demo": ["scikit-image>=0.22,<1"],
        "openvino": ["openvino>=2024.4"],
        "convert": ["onnx>=1.15,<2", "onnxruntime>=1.17,<2"],
        "deeplabcut": ["h5py>=3.8,<4"],
        "dev": [
            "h5py>=3.8,<4",
            "pytest>=8,<10",
            "hypothesis>=6.100,<7",
            "ruff>=0.6,<1",
            "scikit-image>=0.22,<1",
            "scipy>=1.10,<2",
        ],
    },
    entry_points={"console_scripts": ["posefix = posefix.commands:main"]},
)
