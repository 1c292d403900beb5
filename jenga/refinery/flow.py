"""Values as YAML on one line, the same to readers of YAML 1.1 and 1.2."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jenga.config.syntax import CORE_RESOLVERS

_YAML_1_1 = {"y", "n", "yes", "no", "on", "off"}


def flow(content: Mapping[str, Any]) -> str:
    """Return a mapping in YAML's flow form, on one line: ``{path: a, clip: [0.0, null]}``."""

    def written(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(written, value))}]"
        return scalar(value) if isinstance(value, str) else json.dumps(value)

    return "{" + ", ".join(f"{key}: {written(value)}" for key, value in content.items()) + "}"


def scalar(text: str) -> str:
    """Return `text` bare where YAML 1.1 and 1.2 both read it as that text, else in JSON's quotes."""
    bare = re.fullmatch(r"[A-Za-z_][\w ./;'()-]*[\w.)]|[A-Za-z_]", text, re.ASCII) and "  " not in text
    if bare and not any(pattern.match(text) for _, pattern, _ in CORE_RESOLVERS) and text.lower() not in _YAML_1_1:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return re.sub(r"[^ -~\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029\ufeff]", _escape, quoted)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
