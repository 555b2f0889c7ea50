"""Metadata of the package; settings of the tools (ruff, pytest) are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "project/__init__.py").read_text())[1]

INSTALL_REQUIRES = [
    "torch>=2.13",
    "torchvision>=0.28",
    "numpy>=2.0,<2.5",
    "pillow>=12",
    "opencv-python-headless>=4.10,<6",
    "pycocotools>=2.0.11,<3",
    "msgspec>=0.20,<1",
    "omegaconf>=2.3,<2.4",
    "hydra-core>=1.3.4,<1.4",
    "iopath>=0.1.8,<0.1.10",
    "fvcore>=0.1.5.post20221221,<0.1.6",
    "hotcoco>=1.3,<2",
    "shapely>=2.0",
    "matplotlib>=3.8",
    "jinja2>=3.1",
    "tensorboard>=2.16",
    "tqdm>=4.66",
    "pyyaml>=6",
    "termcolor>=1.1",
    "tabulate>=0.9",
    "cloudpickle>=3",
    "packaging>=23",
]

SWEEP = ["optuna>=4.5,<6", "submitit>=1.5.3"]
SEMANTIC = ["segmentation-models-pytorch>=0.6,<0.7", "timm>=1.0.20,<2"]
DETR = ["transformers>=5.20,<6", "scipy>=1.11"]  # Mask2Former's loss takes SciPy
MATTING = ["pymatting>=1.1.15,<2"]
EXTRAS = {
    "sweep": SWEEP,
    "semantic": SEMANTIC,
    "detr": DETR,
    "matting": MATTING,
    "test": [
        "pytest>=9",
        "hypothesis>=6.150",
        "torchmetrics>=1.8,<2",
        "faster-coco-eval>=1.8,<2",
        "playwright>=1.60",
        "ruff>=0.17",
        *SWEEP,
        *SEMANTIC,
        *DETR,
        *MATTING,
    ],
    "dev": ["ruff>=0.17", "pre-commit>=4"],
}

setup(
    name="detectron2-project",
    version=VERSION,
    description="Mask R-CNN on COCO subsets: data, training, evaluation and pictures.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["project", "project.*"]),
    package_data={"project.visualization.page": ["*.j2", "*.css", "*.js"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS,
)
