"""Scripts of workflows: the modules they import, and the check before they are published."""

from shared.script.check import Checked, CheckError, check_workflow

__all__ = ["CheckError", "Checked", "check_workflow"]
