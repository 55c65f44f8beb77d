"""What pyproject.toml cannot say: configs/ and launch/ lie beside the package and ship inside it (hjepa/_share)."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

SHARED = {f"hjepa._share.{folder}": folder for folder in ("configs", "launch") if Path(folder).is_dir()}

setup(
    packages=[*find_namespace_packages(include=["hjepa", "hjepa.*", "robots", "robots.*"]), *SHARED],
    package_dir=SHARED,
    package_data={
        **dict.fromkeys(SHARED, ["**/*"]),
        "hjepa": ["py.typed", "weights/*", "tasks/badminton/data/*"],
        "robots": ["py.typed", "descriptions/*"],
    },
    include_package_data=False,
)
