"""Programs of this machine, but only those that its own configuration names.

Called by: driver.py. Survives a crash: the program dies with the driver. Change also: the server's stub `process.pyi`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import IO, Dict, List, Mapping, Optional

from regente_agent import processes
from regente_agent.drivers.contract import Failure, InDoubt, Job, act

OUTPUT_BYTES_MAX = 64 * 1024
ARGUMENTS_MAX = 100
ARGUMENT_MAX = 32_000
CUT = "\n[cut: more than 64 KB]"


class Process:
    """The instructions process.*"""

    def __init__(self, programs: Mapping[str, List[str]]) -> None:
        """`programs`: the allow-list, name -> command."""
        self.job: Job = None  # type: ignore[assignment]  # set by driver.py before every instruction
        self._programs = programs

    @act
    def run(
        self,
        program: str,
        arguments: List[str] = [],  # noqa: B006  # never changed; as the server's stub has it
        *,
        text: str = "",
        commit: bool = False,
        timeout: Optional[float] = None,
    ) -> Dict[str, str]:
        """Run an allowed program to its end; its exit code is no error of ours."""
        command = self._programs.get(program)
        if command is None:
            raise Failure(
                "NOT_ALLOWED", f"program {program!r} is not in this robot's list (section [programs] of agent.ini)"
            )
        if len(arguments) > ARGUMENTS_MAX or any(len(word) > ARGUMENT_MAX or "\0" in word for word in arguments):
            raise Failure("BAD_ARGUMENT", f"at most {ARGUMENTS_MAX} arguments of {ARGUMENT_MAX} characters each")
        child = self._start(program, command + arguments)
        readers = [_Reader(stream) for stream in (child.stdout, child.stderr)]
        writer = threading.Thread(target=_feed, args=(child, text.encode("utf-8", "replace")), daemon=True)
        writer.start()
        try:
            code = child.wait(self.job.wait_s(timeout))
        except subprocess.TimeoutExpired as error:
            _kill(child)
            raise InDoubt("TIMEOUT", f"{program} did not end in time and was killed") from error
        _kill(child)
        stdout, stderr = (reader.text() for reader in readers)
        return {"exit_code": str(code), "stdout": stdout, "stderr": stderr}

    def _start(self, program: str, command: List[str]) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=str(self.job.folder),
                start_new_session=True,
                preexec_fn=processes.die_with_parent if processes.LINUX else None,
            )
        except OSError as error:
            raise Failure("DRIVER_FAILED", f"{program} could not be started: {error.strerror or error}") from error


class _Reader(threading.Thread):
    """Takes all of a stream, so that the program never waits for us, and keeps its beginning."""

    def __init__(self, stream: Optional[IO[bytes]]) -> None:
        super().__init__(daemon=True)
        assert stream is not None
        self._stream = stream
        self._kept = b""
        self._cut = False
        self.start()

    def run(self) -> None:
        for chunk in iter(lambda: self._stream.read1(8192), b""):  # type: ignore[attr-defined]
            room = OUTPUT_BYTES_MAX - len(self._kept)
            self._cut = self._cut or len(chunk) > room
            self._kept += chunk[:room]

    def text(self) -> str:
        """What it said. Who inherited the stream and lives on is not waited for."""
        self.join(1.0)
        return self._kept.decode("utf-8", "replace") + (CUT if self._cut else "")


def _feed(child: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(data)
        child.stdin.close()
    except OSError:
        pass  # the program does not want to read


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """End the program's whole group: what it left running is no part of the run."""
    try:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except OSError:
        pass  # nothing of it is left
    child.wait()
