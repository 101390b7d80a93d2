"""Print the versions that are installed, without opsqueue itself: the constraints that CI installs with."""

from importlib.metadata import distributions

SKIPPED = {
    "opsqueue",
    "pip",
    "setuptools",
    "wheel",
    "pip-tools",
    "build",
    "pyproject-hooks",
    "jc",
    "ruamel-yaml",
    "xmltodict",
}

found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
for name in sorted(set(found) - SKIPPED):
    print(f"{name}=={found[name]}")
