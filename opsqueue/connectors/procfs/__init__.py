"""System metrics of a host where nothing is installed: one sh script, and its output read as psutil would."""

from opsqueue.connectors.procfs.parse import reading_of
from opsqueue.connectors.procfs.script import answer_bytes, reading_script, reading_text

__all__ = ["answer_bytes", "reading_of", "reading_script", "reading_text"]
