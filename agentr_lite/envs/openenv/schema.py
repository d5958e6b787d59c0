"""What a server's JSON schemas say of actions and observations, and how text becomes one of them.

========================================  ====================================================
the action has                            a model writes
========================================  ====================================================
one field (or one that is required)       its value: text, a number, true or false, or one of
                                          the listed words
several                                   a JSON object with these fields
========================================  ====================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentr_lite.core.json_values import JsonError, load_json

_NOT_THE_ACTION = "metadata"
"""A field that all actions and observations have."""
_ABOUT_THE_STEP = (_NOT_THE_ACTION, "done", "reward")
_TEXT_FIELDS = ("text", "observation", "message", "prompt", "response", "result", "output")
"""Usual names of the field that is meant to be read, if several fields are texts."""
_MOST_VALUES = 10_000
_LONGEST_LIST = 64
"""Words of an enumeration that a prompt lists."""


class NotAnAction(Exception):
    """A text from which no action can be made; the message says why."""


class ActionSchema:
    """Makes actions of texts.

    Args:
        schema: the server's JSON schema of an action.
        field: the field that a model writes; empty: the schema decides.

    Raises:
        KeyError: there is no such field.
    """

    def __init__(self, schema: Mapping[str, Any], field: str = "") -> None:
        self._root = schema
        properties = _mapping(schema.get("properties"))
        self._fields = {
            name: self._resolved(_mapping(part))
            for name, part in properties.items()
            if name != _NOT_THE_ACTION
        }
        # A field with one possible value is not written.
        self._fixed = {
            name: part["const"] for name, part in self._fields.items() if "const" in part
        }
        wanted = schema.get("required")
        self._required = [
            name
            for name in (wanted if isinstance(wanted, list) else [])
            if name in self._fields and name not in self._fixed
        ]
        open_fields = [name for name in self._fields if name not in self._fixed]
        self._single = field
        if field:
            self._fields[field]
        elif len(self._required) == 1 or len(open_fields) == 1:
            self._single = (self._required or open_fields)[0]

    @property
    def choices(self) -> list[str] | None:
        """All actions, if the schema lists them."""
        if not self._single:
            return None
        part = self._fields[self._single]
        if isinstance(part.get("enum"), list):
            return [_shown(value) for value in part["enum"]]
        low, high = part.get("minimum"), part.get("maximum")
        bounded = part.get("type") == "integer" and type(low) is int and type(high) is int
        if bounded and 0 <= high - low < _LONGEST_LIST:  # type: ignore[operator]  # both are int
            return [str(value) for value in range(low, high + 1)]  # type: ignore[arg-type,operator]
        return None

    @property
    def description(self) -> str:
        """The form of an action, in words."""
        if self.choices:
            listed = ", ".join(self.choices[:_LONGEST_LIST])
            more = len(self.choices) - _LONGEST_LIST
            return f"The actions are: {listed}{f' and {more} more' if more > 0 else ''}."
        if self._single:
            part = self._fields[self._single]
            kind = {"string": "a text"}.get(_type(part), f"of type {_type(part)}")
            return f"An action is {kind} ({self._single}{_meaning(part)})."
        if not self._fields:
            return "An action is a JSON object on one line."
        rows = [
            f"- {name}: {_type(part)}{'' if name in self._required else ', optional'}"
            f"{_meaning(part)}"
            for name, part in self._fields.items()
            if name not in self._fixed
        ]
        return "\n".join(["An action is a JSON object on one line, with these fields:", *rows])

    def read(self, text: str) -> dict[str, Any]:
        """The action that a text stands for.

        Raises:
            NotAnAction: it stands for none.
        """
        if not self._single:
            return {**self._fixed, **self._object(text)}
        part = self._fields[self._single]
        if _type(part) == "string" and "enum" not in part:
            return {**self._fixed, self._single: text}
        word = text.strip()
        if "enum" in part:
            by_word = {_shown(value).lower(): value for value in part["enum"]}
            if word.lower() not in by_word:
                raise NotAnAction(self.description)
            return {**self._fixed, self._single: by_word[word.lower()]}
        try:
            value = load_json(word, most_values=_MOST_VALUES)
        except JsonError:
            raise NotAnAction(self.description) from None
        if isinstance(value, dict) and self._single in value and _type(part) != "object":
            return {**self._fixed, **self._object(word)}
        if not _fits(value, _type(part)) or (self.choices and _shown(value) not in self.choices):
            raise NotAnAction(self.description)
        return {**self._fixed, self._single: value}

    def _object(self, text: str) -> dict[str, Any]:
        try:
            value = load_json(text.strip(), most_values=_MOST_VALUES)
        except JsonError as error:
            raise NotAnAction(f"That is not JSON ({error}). {self.description}") from None
        if not isinstance(value, dict):
            raise NotAnAction(self.description)
        if self._fields and (unknown := [name for name in value if name not in self._fields]):
            raise NotAnAction(f"There is no field {unknown[0]!r}. {self.description}")
        if missing := [name for name in self._required if name not in value]:
            raise NotAnAction(f"The field {missing[0]!r} is missing. {self.description}")
        return value

    def _resolved(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        """A field's schema with its reference followed, and without `null` as an alternative."""
        if isinstance(reference := part.get("$ref"), str):
            target = _mapping(self._root.get("$defs")).get(reference.rpartition("/")[2])
            # A definition that refers to itself is not followed.
            return {**part, **_mapping(target)} if target is not part else part
        for key in ("anyOf", "oneOf", "allOf"):
            others = [
                _mapping(other)
                for other in (part[key] if isinstance(part.get(key), list) else [])
                if _mapping(other).get("type") != "null"
            ]
            if len(others) == 1:
                return {**part, **self._resolved(others[0])}
        return part


class ObservationText:
    """Finds the text of observations.

    Args:
        schema: the server's JSON schema of an observation.
        field: the field that is the text; empty: the schema decides.
    """

    def __init__(self, schema: Mapping[str, Any], field: str = "") -> None:
        self._field = field
        if not field:
            properties = _mapping(schema.get("properties"))
            texts = [
                name
                for name, part in properties.items()
                if _mapping(part).get("type") == "string" and name not in _ABOUT_THE_STEP
            ]
            usual = [name for name in _TEXT_FIELDS if name in texts]
            self._field = next(iter(usual), texts[0] if len(texts) == 1 else "")

    def read(self, observation: Mapping[str, Any]) -> str:
        """The text; the whole observation as JSON if no field is known to be one.

        Raises:
            KeyError: the named field is missing, or is no text.
        """
        if self._field:
            text = observation.get(self._field)
            if not isinstance(text, str):
                raise KeyError(self._field)
            return text
        rest = {name: value for name, value in observation.items() if name not in _ABOUT_THE_STEP}
        return json.dumps(rest, ensure_ascii=False)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _type(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else "any"


def _meaning(part: Mapping[str, Any]) -> str:
    said = part.get("description")
    return f": {' '.join(said.split())}" if isinstance(said, str) and said.strip() else ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _fits(value: Any, kind: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "array": (list,),
        "object": (dict,),
    }
    if kind not in kinds:
        return True
    # To Python, True is a whole number.
    return isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def names_of(schema: Mapping[str, Any]) -> Sequence[str]:
    """The names of a schema's fields, for a message."""
    return [name for name in _mapping(schema.get("properties")) if name != _NOT_THE_ACTION]
