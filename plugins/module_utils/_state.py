# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory on the managed host: small JSON files, written atomically, and two locks.

Private to this collection.

* The short lock, C(lock), is an flock(2) around one critical section of one process.
* The run lock, C(run.json), says which playbook run is changing this host now. A run consists of many processes, so it
  cannot hold an flock; it leaves a record instead, with the time after which nobody needs to respect it any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from ._files import replace_file

DEFAULT_DIRECTORY = "/var/lib/homeserver"

_RUN = "run.json"
_LOCK = "lock"
#: The short locks that this process holds.
_held: set[str] = set()


class StateError(Exception):
    """The state directory cannot be used, or something else uses it."""


class StateDir:
    """The state directory. Nothing is created until something is written.

    Args:
        path: absolute path; created with mode 0700 by the first write.
    """

    def __init__(self, path: str = DEFAULT_DIRECTORY) -> None:
        if not os.path.isabs(path) or not os.path.normpath(path).strip("/"):
            raise StateError(f"the state directory must be an absolute path below the root directory, not {path!r}")
        self.path = path

    def file(self, name: str) -> str:
        """Return the path of a file in the directory."""
        if os.sep in name or name in ("", ".", ".."):
            raise StateError(f"{name!r} is not the name of a state file")
        return os.path.join(self.path, name)

    def read(self, name: str) -> Any:
        """Return the content of a JSON file, None if it does not exist."""
        path = self.file(name)
        try:
            with open(path, encoding="utf-8") as stream:
                return json.load(stream)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StateError(f"{path} is damaged ({error}); move it away and run again") from error
        except OSError as error:
            raise StateError(f"{path} cannot be read: {error.strerror}") from error

    def write(self, name: str, data: Any, indent: int | None = 2) -> None:
        """Replace a JSON file: after a crash there is the old content or the new one, never a part of it.

        Without indentation it takes a tenth of the time, for what is written often.
        """
        path = self.file(name)
        self._create()
        text = json.dumps(data, indent=indent, sort_keys=True, ensure_ascii=False) + "\n"
        try:
            replace_file(path, text.encode())
            self._sync()
        except OSError as error:
            raise StateError(f"{path} cannot be written: {error.strerror}") from error

    def remove(self, name: str) -> bool:
        """Remove a file; return whether it was there."""
        try:
            os.unlink(self.file(name))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StateError(f"{self.file(name)} cannot be removed: {error.strerror}") from error
        self._sync()
        return True

    def remove_if_empty(self) -> bool:
        """Remove the directory if nothing but the lock file is left in it; return whether it is gone."""
        try:
            if set(os.listdir(self.path)) - {_LOCK}:
                return False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(_LOCK))
            os.rmdir(self.path)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise StateError(f"{self.path} cannot be removed: {error.strerror}") from error
        return True

    @contextlib.contextmanager
    def lock(self, timeout: float = 10.0, nested: bool = False) -> Iterator[None]:
        """Hold the short lock, waiting at most so many seconds for it. With C(nested), it is enough that this process holds it already."""
        path = self.file(_LOCK)
        if nested and path in _held:
            yield
            return
        self._create()
        with open(path, "a", encoding="ascii") as stream:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        raise StateError(f"{path} is held by another process for more than {timeout:g} s; run again later") from error
                    time.sleep(0.05)
            _held.add(path)
            try:
                yield
            finally:
                _held.discard(path)

    def run_holder(self, now: float | None = None) -> dict[str, Any] | None:
        """Return the record of the playbook run that holds this host now, None if there is none or its time is over."""
        record = self.read(_RUN)
        if not isinstance(record, dict) or float(record.get("expires", 0)) <= (time.time() if now is None else now):
            return None
        return record

    def take_run(self, record: dict[str, Any]) -> None:
        """Write the record of the run that holds this host; C(expires) in seconds since 1970 is required."""
        if "expires" not in record:
            raise StateError("the record of a run needs the time at which it expires")
        self.write(_RUN, record)

    def release_run(self) -> bool:
        """Forget which run holds this host."""
        return self.remove(_RUN)

    def _create(self) -> None:
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(f"{self.path} cannot be created: {error.strerror}") from error

    def _sync(self) -> None:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
