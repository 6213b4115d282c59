"""What is measured against: another framework in a process of its own, since two in one would share their threads.

The same framework runs in this one. Between two processes one program, JAX's own 7x7 stem, was 2.2 times as fast as
itself: whether the pages of its large arrays are new in every call is each process's luck.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import selectors
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from jaxconv.bench import measure

SERVER = Path(__file__).parent / "peers" / "serve.py"
START = 120.0  # seconds that importing a framework may take


class PeerError(RuntimeError):
    """A peer that is not there, or that refuses a call; the text says why."""


class PeerDied(PeerError):
    """A peer whose process ended by itself."""


class Peer:
    """One framework in one process, spoken to in lines of JSON; started when first needed.

    Attributes:
        name: of the framework, as `peers/serve.py` knows it.
        python: the interpreter that has it.
        limit: seconds that one call may take.
        command, environment: of the process; None is this process's own environment.
        versions: of the framework, once it is started.
    """

    def __init__(self, name: str, python: str = sys.executable, limit: float = 30.0) -> None:
        self.name, self.python, self.limit = name, python, limit
        self.command = [python, str(SERVER), name]
        self.environment: dict[str, str] | None = None
        self.versions: dict[str, Any] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Import the framework. PeerError where that fails."""
        try:
            self._process = subprocess.Popen(
                self.command,
                env=self.environment,
                start_new_session=True,  # ctrl-C is for the one who asked
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                bufsize=1,
            )
        except OSError as error:
            raise PeerError(f"{self.name}: {self.python} cannot be started: {error}") from error
        try:
            self.versions = self._answer(START)
        except TimeoutError as error:
            raise PeerError(f"{self.name}: {self.python} did not start within {START:g} s") from error

    def build(self, call: dict[str, Any]) -> dict[str, Any]:
        """Make a call ready; what the framework tells about it. TimeoutError past the limit."""
        return self._ask({"build": call})

    def run(self, number: int) -> float:
        """Seconds that `number` calls took. TimeoutError past the limit; the process is then gone."""
        return float(self._ask({"run": number})["seconds"])

    def close(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not sent before the process died
                        stream.close()
            self._process = None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error
        return self._answer(self.limit)

    def _died(self) -> PeerDied:
        """Clear away what is left of the process; the error that says how it ended."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.poll()
        self.close()
        how = "" if status is None else f", exit status {status}" if status >= 0 else f" of signal {-status}"
        return PeerDied(f"{self.name}: the process died{how}")

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(limit):
                self.close()
                raise TimeoutError
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        try:
            answer = json.loads(line)
        except json.JSONDecodeError as error:
            self.close()
            raise PeerError(f"{self.name}: said {line!r}") from error
        if "error" in answer:
            raise PeerError(f"{self.name}: {answer['error']}")
        return answer


class Same(Peer):
    """JAX itself: its calls are timed in this process, once its own process has shown that they end."""

    _run: measure.Run

    def build(self, call: dict[str, Any]) -> dict[str, Any]:
        """As of any peer; a call that does not end within the limit raises here already."""
        facts = super().build(call)
        super().run(1)
        step, _ = here("of_jax").build(self.name, call)
        self._run = measure.timed(step)
        return facts

    def run(self, number: int) -> float:
        """Seconds that `number` calls took in this process."""
        return self._run(number)


def started(names: Sequence[str], of_jax: Collection[str], python: str | None, limit: float) -> list[Peer]:
    """A process for each framework; `python` is the interpreter of all but those `of_jax`. PeerError if one lacks."""
    made: list[Peer] = []
    try:
        for name in names:
            interpreter = sys.executable if python is None or name in of_jax else python
            made.append((Same if name in of_jax else Peer)(name, interpreter, limit))
            made[-1].start()
    except PeerError:
        for peer in made:
            peer.close()
        raise
    return made


def here(name: str) -> Any:
    """A module beside `SERVER`, in this process, where they import each other without a package."""
    folder = str(SERVER.parent)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)
