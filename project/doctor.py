"""What is wrong with this environment, and what to do about it: ``python -m project.doctor``.

Prints the versions of what the project needs, which Detectron2 answers, the devices, and one line
for each thing that is wrong. Exit code 1 if training can't run. Every check stands alone, so that
one broken package doesn't hide the others; nothing but the standard library is imported at the top.
"""

from __future__ import annotations

import importlib
import importlib.metadata as metadata
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import project

DISTRIBUTION = "detectron2-project"
# Import names of the distributions that are named differently.
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "hydra-core": "hydra",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; ``fatal`` if training can't run with it."""

    what: str
    fix: str
    fatal: bool = True


def main() -> int:
    """Print the report; 0 if training can run, else 1."""
    print(f"project {project.__version__}, Python {platform.python_version()}, {sys.prefix}")
    findings = [finding for check in CHECKS for finding in run_check(check)]
    for finding in findings:
        print(f"{'ERROR' if finding.fatal else 'warning'}: {finding.what}\n    fix: {finding.fix}")
    fatal = any(finding.fatal for finding in findings)
    print("Training can't run." if fatal else "Training can run.")
    return int(fatal)


def run_check(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of one check; a check that fails itself is a finding."""
    try:
        return list(check())
    except Exception as error:
        what = f"{check.__name__} failed: {type(error).__name__}: {error}"
        return [Finding(what, "reinstall with `pip install -e .` in a fresh environment")]


def check_packages() -> Iterator[Finding]:
    """Each required package is there, in a version that fits, and can be imported."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(f"{DISTRIBUTION} is not installed", "run `pip install -e .` in the checkout")
        return
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)[0]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(f"{name} is missing", f"run `pip install '{requirement}'`")
            continue
        print(f"  {name:26} {version}")
        if not fits(requirement, version):
            yield Finding(
                f"{name} {version} does not fit {requirement!r}",
                f"run `pip install '{requirement}'`",
            )
        yield from check_import(name)


def fits(requirement: str, version: str) -> bool:
    """Whether a version fits; true where `packaging` itself is missing (it is reported then)."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def check_import(name: str) -> Iterator[Finding]:
    module = IMPORT_NAMES.get(name.lower(), name.replace("-", "_"))
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package may raise anything
        yield Finding(
            f"`import {module}` fails: {type(error).__name__}: {error}",
            f"run `pip install --force-reinstall {name}`",
        )


def check_opencv() -> Iterator[Finding]:
    """Two OpenCV wheels write into the same folder and break each other."""
    wheels = sorted(
        {
            d.metadata["Name"].lower()
            for d in metadata.distributions()
            if (d.metadata["Name"] or "").lower().startswith("opencv-")
        }
    )
    if len(wheels) > 1:
        yield Finding(
            f"{' and '.join(wheels)} are installed together",
            f"run `pip uninstall -y {' '.join(wheels)}`, then `pip install opencv-python-headless`",
            fatal=False,
        )


def check_detectron2() -> Iterator[Finding]:
    """Which Detectron2 answers, and whether it can be imported."""
    try:
        source = project.detectron2_source()
    except ImportError as error:
        yield Finding(str(error), "unset PROJECT_DETECTRON2")
        return
    if source == "installed":
        yield from check_setuptools()
    try:
        module = importlib.import_module("detectron2")
        importlib.import_module("detectron2.model_zoo")
        importlib.import_module("detectron2.modeling")
    except Exception as error:  # a compiled package may fail in any way
        fix = (
            "rebuild it for this torch, or set PROJECT_DETECTRON2=bundled"
            if source == "installed"
            else "see the packages above"
        )
        yield Finding(f"the {source} Detectron2 fails: {type(error).__name__}: {error}", fix)
        return
    print(f"  detectron2: {source}, version {module.__version__}, {module.__path__[0]}")


def check_setuptools() -> Iterator[Finding]:
    """The real Detectron2 imports pkg_resources, which setuptools 82 removed."""
    try:
        version = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        version = "none"
    if version == "none" or int(version.split(".")[0]) >= 82:
        yield Finding(
            f"the installed Detectron2 needs pkg_resources, which setuptools {version} lacks",
            "run `pip install 'setuptools<82'`, or set PROJECT_DETECTRON2=bundled",
        )


def check_devices() -> Iterator[Finding]:
    import torch

    print(f"  CPU: {torch.get_num_threads()} threads")
    for k in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(k).total_memory / 2**30
        print(f"  GPU {k}: {torch.cuda.get_device_name(k)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        yield Finding(
            "no GPU can be used: training takes the CPU",
            "on a machine with a GPU, check `nvidia-smi` and that torch was built for its driver",
            fatal=False,
        )


CHECKS = (check_packages, check_opencv, check_detectron2, check_devices)

if __name__ == "__main__":
    sys.exit(main())
