"""The windows that are open on the robot's desktop, with their titles and programs, for the record of a failure.

Called by: sight.py, perhaps from beside a driver that hangs. Survives a crash: nothing. Change also: nothing. It asks
the system, never a window's own program, so one that hangs does not hold it up; where there is no desktop, or nothing
that can be asked (`wmctrl` on Linux), there are none.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from typing import Any, Dict, List

WINDOWS_MAX = 20
WAIT_S = 0.4
_QUERY_LIMITED = 0x1000


def open_windows() -> List[Dict[str, Any]]:
    """Visible windows that have a title, topmost first where the system says so: {title, process, active}."""
    try:
        if os.name == "nt":
            return _of_windows()
        if os.environ.get("DISPLAY") and shutil.which("wmctrl"):
            return _of_x11()
    except Exception:  # a desktop in trouble: the failure that this is told with is the one that counts
        return []
    return []


def _of_x11() -> List[Dict[str, Any]]:
    done = subprocess.run(["wmctrl", "-l", "-p"], stdout=subprocess.PIPE, timeout=WAIT_S, check=True)
    found = []
    for line in done.stdout.decode("utf-8", "replace").splitlines()[:WINDOWS_MAX]:
        parts = line.split(None, 4)  # window, desktop, pid, machine, title
        if len(parts) == 5:
            found.append({"title": parts[4], "process": _program(parts[2]), "active": False})
    return found


def _program(pid: str) -> str:
    try:
        with open(f"/proc/{int(pid)}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _of_windows() -> List[Dict[str, Any]]:
    user, kernel = ctypes.windll.user32, ctypes.windll.kernel32  # type: ignore[attr-defined]
    user.GetForegroundWindow.restype = ctypes.c_void_p
    kernel.OpenProcess.restype = ctypes.c_void_p
    active = user.GetForegroundWindow()
    found: List[Dict[str, Any]] = []

    def one(window: int, _: int) -> bool:
        title = ctypes.create_unicode_buffer(512)
        handle = ctypes.c_void_p(window)
        if user.IsWindowVisible(handle) and user.GetWindowTextW(handle, title, 512):
            pid = ctypes.c_ulong()
            user.GetWindowThreadProcessId(handle, ctypes.byref(pid))
            found.append({"title": title.value, "process": _image(kernel, pid.value), "active": window == active})
        return len(found) < WINDOWS_MAX

    kind = ctypes.WINFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)  # type: ignore[attr-defined]
    user.EnumWindows(kind(one), None)
    return found


def _image(kernel: Any, pid: int) -> str:
    """File name of a process's program."""
    process = kernel.OpenProcess(_QUERY_LIMITED, False, pid)
    if not process:
        return ""
    try:
        path, size = ctypes.create_unicode_buffer(1024), ctypes.c_ulong(1024)
        known = kernel.QueryFullProcessImageNameW(ctypes.c_void_p(process), 0, path, ctypes.byref(size))
        return path.value.replace("\\", "/").rsplit("/", 1)[-1] if known else ""
    finally:
        kernel.CloseHandle(ctypes.c_void_p(process))
