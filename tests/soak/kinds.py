"""The kinds of faults, in the order in which a soak begins with them."""

from __future__ import annotations

from typing import Any

from tests.soak.actions import Actions
from tests.soak.disk import Disk
from tests.soak.flips import Flips
from tests.soak.kills import Kills
from tests.soak.kind import Kind
from tests.soak.plugins import Plugins
from tests.soak.servers import Servers
from tests.soak.signals import Signals
from tests.soak.texts import Texts

KINDS: tuple[Kind[Any], ...] = (
    *(Actions(), Kills(), Signals(), Disk(), Flips(), Texts(), Plugins(), Servers()),
)
