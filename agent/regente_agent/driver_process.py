"""The driver process as the supervisor sees it: start it, hand it one job, kill it with all that it started.

Owns: the child process and its scratch folder (browser profiles and downloads lie there). Called by: the engine, from
its one thread; `on_frame`, `on_gone` and `on_line` are called from reader threads and must only post. Survives a crash:
nothing; the driver dies with the supervisor, its scratch folder is removed at the next start.
Change also: driver.py, the other end of the pipes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Mapping

from regente_agent import frames, processes
from regente_agent.settings import Settings

PIPE_BYTES = 60_000
"""What surely fits in an idle pipe, so that writing it can't block."""
LINE_MAX = 2000
SCRATCH_PATH_MAX = 48

OnFrame = Callable[["DriverProcess", Dict[str, Any]], None]
OnGone = Callable[["DriverProcess"], None]


class DriverProcess:
    """One driver, from its start to its death."""

    def __init__(self, settings: Settings, on_frame: OnFrame, on_gone: OnGone, on_line: Callable[[str], None]) -> None:
        """Start it; a first frame with `hello` follows when it is ready.

        Raises: OSError when the interpreter can't be started.
        """
        self._on_frame, self._on_gone, self._on_line = on_frame, on_gone, on_line
        root = _own(scratch_root(settings.home))
        self._scratch = Path(tempfile.mkdtemp(prefix="d", dir=str(root)))
        self._process = subprocess.Popen(
            [settings.driver_python, "-m", "regente_agent.driver", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(self._scratch),
            env=_environment(self._scratch),
            start_new_session=True,
        )
        self.ready = False
        self.used = False
        for target in (self._read_frames, self._read_lines):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        self.send({"settings": settings.to_json()})

    @property
    def pid(self) -> int:
        """Its process id, which is its process group too."""
        return self._process.pid

    def send(self, frame: Mapping[str, Any]) -> None:
        """Hand a frame over without ever blocking; if the driver is gone, `on_gone` says so."""
        data = frames.encode(frame)
        if len(data) < PIPE_BYTES:
            self._write(data)
        else:
            threading.Thread(target=self._write, args=(data,), name="driver-write", daemon=True).start()

    def kill(self, keep: Iterable[int] = ()) -> None:
        """End it with everything that it started; returns when it is gone. `keep`: pids of other drivers."""
        processes.kill_driver(self._process, keep)
        shutil.rmtree(str(self._scratch), ignore_errors=True)

    def _write(self, data: bytes) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except (OSError, ValueError):
            pass  # the reader sees the end of its stream, and reports it

    def _read_frames(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                frame = frames.read(self._process.stdout)
                if frame is None:
                    break
                self._on_frame(self, frame)
        except (frames.BrokenFrame, OSError, ValueError) as error:
            self._on_line(f"the driver's answers can't be read: {error}")
        self._on_gone(self)

    def _read_lines(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._on_line(text[:LINE_MAX])


def scratch_root(home: Path) -> Path:
    """Where drivers keep what may be thrown away at any time: in the agent's folder, unless that is too deep.

    A browser makes a socket below it, and a socket's path has at most 107 characters (unix(7)).
    """
    root = home / "scratch"
    if os.name != "posix" or len(str(root)) <= SCRATCH_PATH_MAX:
        return root
    mark = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"regente-{mark}"


def _own(folder: Path) -> Path:
    """Make the folder if it is not there.

    Raises: OSError when it belongs to somebody else, who could then read or change what lies in it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix" and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
        raise OSError(f"{folder} belongs to another user: remove it")
    return folder


def _environment(scratch: Path) -> Dict[str, str]:
    """The driver's environment: the settings come in a frame, and nothing else of ours is a robot's business."""
    package = str(Path(__file__).resolve().parent.parent)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REGENTE_")}
    path = os.pathsep.join(part for part in (package, kept.get("PYTHONPATH", "")) if part)
    return dict(kept, PYTHONPATH=path, PYTHONUNBUFFERED="1", TMPDIR=str(scratch), TEMP=str(scratch), TMP=str(scratch))
