"""YAML from a person, read with limits: the values of recipes, studies, settings and keys.

YAML can say much in few characters: an alias of aliases grows without end, a number may have any
number of digits, brackets may be nested as deep as the text is long. Whatever no setting needs is
refused before it takes time or memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MAX_BYTES = 1_000_000
"""Of one file or value; a bundled study has about 5,000."""
MAX_NODES = 20_000
"""Values in one text, each alias counted as all the values that it stands for."""
MAX_DEPTH = 50
"""Lists and mappings within each other."""
_MAX_DIGITS = 64
"""Characters of a number; more than any float needs."""
_MAX_INT = 2**64
_MESSAGE_CHARACTERS = 400


class YamlError(ValueError):
    """A text that is no YAML, or that says more than any setting may; one line."""


def load_yaml(text: str) -> Any:
    """The value of a YAML text: None, booleans, numbers, texts, lists and mappings of these.

    Args:
        text: one document.

    Raises:
        YamlError: not YAML, too large, too deep, or a value that has no JSON form.
    """
    import yaml

    if len(text) > MAX_BYTES:
        raise YamlError(f"longer than {MAX_BYTES:,} characters")
    try:
        loader = _loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node)
        return _checked(loader.construct_document(node))
    except YamlError:
        raise
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise YamlError(message[:_MESSAGE_CHARACTERS]) from error
    except (AttributeError, KeyError, IndexError) as error:
        # PyYAML gives these for a tag whose value is of another kind, e.g. `!!bool maybe`.
        raise YamlError(f"a value does not fit its tag ({str(error)[:80]})") from error


def read_limited(path: Path) -> str:
    """The text of a file, which may be of any length.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        YamlError: it is longer than a setting's file may be.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise YamlError(f"longer than {MAX_BYTES:,} bytes")
    # As in text mode, every line end is "\n".
    return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def _loader(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Stops at too many values and too deep ones while it reads."""

        depth = 0
        nodes = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            self.nodes += 1
            if self.depth > MAX_DEPTH:
                raise YamlError(f"nested more than {MAX_DEPTH} levels deep")
            if self.nodes > MAX_NODES:
                raise YamlError(f"more than {MAX_NODES:,} values")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_number(self, node: yaml.ScalarNode) -> Any:
            if len(node.value) > _MAX_DIGITS:
                raise YamlError(f"a number of {len(node.value):,} characters")
            kind = node.tag.rpartition(":")[2]
            number = getattr(self, f"construct_yaml_{kind}")(node)
            if kind == "int" and not -_MAX_INT < number < _MAX_INT:
                raise YamlError(f"the number {node.value} has more than 64 bits")
            return number

        def construct_date(self, node: yaml.ScalarNode) -> Any:
            try:
                return self.construct_yaml_timestamp(node)
            except (ValueError, OverflowError) as error:
                raise YamlError(
                    f"there is no date {node.value} ({error}); quote it if it is a text"
                ) from error

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", Loader.construct_date)
    return Loader(text)


def _count(root: Any) -> None:
    """Refuse a text whose aliases stand for too many values, or that contains itself."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise YamlError("an alias stands for a value that contains it")
        open_nodes.add(id(node))
        inner = node.value if isinstance(node.value, list) else ()
        total = 1
        for part in inner:
            total += sum(map(size, part)) if isinstance(part, tuple) else size(part)
            if total > MAX_NODES:
                raise YamlError(f"its aliases stand for more than {MAX_NODES:,} values")
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    size(root)


def _checked(value: Any) -> Any:
    """``value``, of which every part has a JSON form.

    Raises:
        YamlError: a set, bytes, a date, or a key that is no text.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                # Stored as JSON, the key would come back as another one.
                raise YamlError(f"the key {key} is a {type(key).__name__}; quote it")
            _checked(item)
    elif isinstance(value, list):
        for item in value:
            _checked(item)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise YamlError(f"a {type(value).__name__} ({str(value)[:40]}); quote it if it is a text")
    return value
