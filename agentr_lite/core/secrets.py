"""Keys and passwords, masked in texts that come back from a server.

A server that is asked with a key may repeat it: in an error, in a header, in an answer, as it is or
in the encoding of whatever it copied the key from. No such text is shown or stored before the key
is replaced in it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

MASK = "***"
_SHORTEST = 8
"""A shorter one, such as ``EMPTY`` or ``none``, is also an ordinary word: it is masked in messages,
in the same spelling, but not in answers."""
_MOST_GROUPS = 32
_ENTITIES = {'"': "quot", "'": "apos", "&": "amp", "<": "lt", ">": "gt"}
_USERINFO = re.compile(r"(?<=//)[^/\s@\"'<>]+@")


class Secrets:
    """The keys of one client.

    Args:
        values: keys and passwords; empty ones are left out.
    """

    def __init__(self, values: Iterable[str]) -> None:
        kept = sorted({value for value in values if value}, key=len, reverse=True)
        self._short = [value for value in kept if len(value) < _SHORTEST]
        long = [value for value in kept if len(value) >= _SHORTEST]
        forms = [form for value in long for form in (_spelled(value), *_encoded(value))]
        self._long = re.compile("|".join(forms), re.IGNORECASE) if forms else None

    def in_answer(self, text: str) -> str:
        """The text of an answer without the keys: as they are, escaped, percent-encoded, or in
        base64 or hexadecimal digits, in any mixture of cases."""
        return self._long.sub(MASK, text) if self._long else text

    def in_message(self, text: str) -> str:
        """A text for a message: besides, without short keys and without what stands before the
        ``@`` of an address."""
        text = _USERINFO.sub(f"{MASK}@", self.in_answer(text))
        for value in self._short:
            text = text.replace(value, MASK)
        return text


def userinfo(address: str) -> list[str]:
    """The secrets in an address: the password, and the name with it as a server may repeat them."""
    try:
        parts = urlsplit(address)
        name, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        return []
    if not name and not password:
        return []
    # A token often stands in the place of the name.
    return [password or name, f"{name}:{password}"]


def _spelled(value: str) -> str:
    """A pattern for the key, each character of which may be encoded in its own way.

    The second half may be missing: a server may cut what it repeats.
    """
    characters = [_character(one) for one in value]
    needed = max(_SHORTEST, len(characters) // 2)
    # Groups within groups: the library reads a limited number of them.
    step = max(1, -(-(len(characters) - needed) // _MOST_GROUPS))
    tail = ""
    for start in reversed(range(needed, len(characters), step)):
        tail = f"(?:{''.join(characters[start : start + step])}{tail})?"
    return "".join(characters[:needed]) + tail


def _character(one: str) -> str:
    code = ord(one)
    # Repetitions are bounded: a text of nothing but backslashes must not take long.
    forms = [
        re.escape(one),
        f"%(?:25){{0,8}}{code:02x}",
        rf"\\{{1,8}}u00{code:02x}",
        rf"\\{{1,8}}x{code:02x}",
        f"&#0{{0,8}}{code};",
        f"&#x0{{0,8}}{code:x};",
    ]
    if one in "\"'\\/":
        forms.insert(0, rf"\\{{1,8}}{re.escape(one)}")
    if one in _ENTITIES:
        forms.append(f"&(?:amp;){{0,8}}{_ENTITIES[one]};")
    return f"(?:{'|'.join(forms)})"


def _encoded(value: str) -> Iterable[str]:
    """Patterns for the key in base64 or hexadecimal digits, wherever in a longer text it stood."""
    data = value.encode()
    yield data.hex()
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode().rstrip("=")
        # Digits at both ends hold bits of the neighbours, too.
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        inner = text[first:last]
        if len(inner) >= _SHORTEST:
            yield re.escape(inner).replace(r"\+", r"[-+]").replace("/", "[_/]")
