"""YAML that would take time or memory, or that says what no setting can be."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from agentr_lite.core.yaml_values import MAX_BYTES, YamlError, load_yaml, read_limited

_LETTERS = "bcdefghij"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]\n" for name in _LETTERS
)
MERGE_BOMB = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{chr(ord(name) - 1)}'] * 10)}]}}\n" for name in _LETTERS
)
HOSTILE = {
    "aliases": BOMB,
    "merged aliases": MERGE_BOMB,
    "itself": "&a [*a]",
    "itself in a mapping": "&a {x: *a}",
    "date": "x: 2024-13-45",
    "time": "2024-02-30T25:61:00",
    "digits": "9" * 5000,
    "hexadecimal digits": "0x" + "f" * 900_000,
    "base 60": "1" + ":59" * 300_000,
    "base 60 fraction": "1" + ":59" * 300_000 + ".0",
    "brackets": "[" * 900_000,
    "dashes": "- " * 400_000,
    "braces": "{a: " * 200_000,
    "question marks": "? " * 100_000,
    "many values": "[" + "1," * 400_000 + "]",
    "many anchors": "".join(f"&a{i} a{i}: 1\n" for i in range(30_000)),
    "long": "x" * (MAX_BYTES + 1),
    "long tag": "!" * 500_000,
    "zero byte": "\x00",
    "lone surrogate": "\ud800",
    **{f"tag {text}": text for text in ("!!bool maybe", "!!int x", "!!int ''", "!!float ''")},
    **{f"tag {text}": text for text in ("!!timestamp x", "!!binary 'a'", "!!set {a}", "=")},
    **{f"tag {text}": text for text in ("!!omap [a: 1]", "!!pairs [a: 1]", "!!binary aGk=")},
    "key": "? [a]\n: b",
    "date as a key": "2024-01-01: x",
    "a number as a key": "1: x",
    "a boolean as a key": "off: x",
    "a valid date": "2024-01-01",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_at_once(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(YamlError) as caught:
        load_yaml(text)
    assert time.process_time() - started < 5
    # In kB on Linux. Measured: under 40 MB for all of them together.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("{a: [1, 2.5, null, true, x], b: 2}", {"a": [1, 2.5, None, True, "x"], "b": 2}),
        ("a: &a [1]\nb: *a", {"a": [1], "b": [1]}),
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("off", False),
        ("1e-4", "1e-4"),
        ("'2024-01-01'", "2024-01-01"),
        (str(2**64 - 1), 2**64 - 1),
        ("\ufeffa: 😀", {"a": "😀"}),
    ],
)
def test_what_a_setting_says_is_read(text: str, value: object) -> None:
    assert load_yaml(text) == value


def test_a_file_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "long.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(YamlError, match="longer than"):
        read_limited(path)
    path.write_bytes(b"a: 1\r\nb: 2\r\n")
    assert read_limited(path) == "a: 1\nb: 2\n"
