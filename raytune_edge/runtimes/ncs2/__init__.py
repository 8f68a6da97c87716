"""The Neural Compute Stick 2's runtime: OpenVINO 2021.4.2 in an environment of its own."""

from raytune_edge.runtimes.ncs2.environment import (
    Environment,
    environment_folder,
    install,
    legacy_python,
    look,
)

__all__ = ["Environment", "environment_folder", "install", "legacy_python", "look"]
