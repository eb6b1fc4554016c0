"""What this machine offers: versions, devices, data sets; and what is missing."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tmfun import __version__, formats

PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "joblib", "statsmodels", "pooch")
REAL_DATA = ("baby", "sports", "clothing", "tiktok", "ml100k")  # what the study `paper` asks for


def examine() -> dict[str, Any]:
    """The state of this machine; `problems` are sentences that say how to mend what is missing."""
    versions = {name: _version(name) for name in PACKAGES}
    problems = [f"the package {name} is missing: ./run_all.sh installs it" for name, v in versions.items() if v is None]
    devices = ["cpu"]
    if versions.get("torch"):
        import torch

        devices += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "tmfun": __version__,
        "python": platform.python_version(),
        "packages": versions,
        "devices": devices,
        "places": {str(place): place.is_dir() for place in formats.places()},
        "datasets": [found.name for found in formats.available()],
        "absent": [name for name in REAL_DATA if formats.find(name) is None],
        "problems": problems,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
