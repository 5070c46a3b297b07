"""Scripts of workflows: the modules they import, and the check before they are published."""

from shared.script.check import Checked, check_workflow
from shared.script.complaint import CheckError

__all__ = ["CheckError", "Checked", "check_workflow"]
