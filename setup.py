"""Shim for tools that still call setup.py. The metadata is in pyproject.toml, and the wheel is built by hatchling."""

from pathlib import Path
from runpy import run_path

from setuptools import find_namespace_packages, setup

CHECK = "datadog_checks.model_serving"

setup(
    version=run_path(str(Path(__file__).parent / "datadog_checks/model_serving/__about__.py"))["__version__"],
    packages=find_namespace_packages(include=[CHECK, f"{CHECK}.*"]),
    package_data={"": ["*.yaml", "*.example"]},
)
