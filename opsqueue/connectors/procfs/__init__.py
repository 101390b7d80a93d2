"""System metrics of a host where nothing is installed: one sh script, and its output read as psutil would."""

from opsqueue.connectors.procfs.parse import reading_of
from opsqueue.connectors.procfs.script import reading_script

__all__ = ["reading_of", "reading_script"]
