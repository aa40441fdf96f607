# Copyright: (c) 2026, homeserver.hardening contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts for users, in English and Japanese, and the data files beside this one.

Runs on the controller only.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LANGUAGES = ("en", "ja")

_HERE = Path(__file__).parent
#: Of the tag at the beginning of a line, with the space after it.
_WIDTH = 6


class Texts:
    """The texts of one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts = _load(f"texts/{language}.yml")

    def get(self, key: str, **values: Any) -> str:
        """Return the text with a dotted key, its placeholders filled in."""
        entry: Any = self._texts
        for part in key.split("."):
            entry = entry[part]
        return str(entry).format(**values) if values else str(entry)

    def line(self, tag: str, text: str) -> str:
        """Return a line of a block. Words carry the state; there are no columns that a full-width character could break."""
        label = self.get(f"tags.{tag}")
        return f"  {label:<{_WIDTH - 1}} {text}" if label.isascii() else f"  {label}  {text}"

    def has(self, key: str) -> bool:
        """Whether there is a text with this key."""
        entry: Any = self._texts
        for part in key.split("."):
            if not isinstance(entry, Mapping) or part not in entry:
                return False
            entry = entry[part]
        return isinstance(entry, str)


def choose_language(wanted: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the language to use: the one that was asked for, else that of the environment, else English.

    Raises:
        ValueError: the language that was asked for is not there.
    """
    if wanted:
        if wanted not in LANGUAGES:
            raise ValueError(f"homeserver_language: {wanted!r} is not available; use one of {', '.join(LANGUAGES)}")
        return wanted
    variables = os.environ if environment is None else environment
    # The order of setlocale(3).
    locale = variables.get("LC_ALL") or variables.get("LC_MESSAGES") or variables.get("LANG") or ""
    return "ja" if locale.lower().startswith("ja") else "en"


def load_data(name: str) -> Any:
    """Return the content of a YAML data file beside this module."""
    return _load(name)


@functools.cache
def _load(name: str) -> Any:
    return yaml.safe_load((_HERE / name).read_text(encoding="utf-8"))
