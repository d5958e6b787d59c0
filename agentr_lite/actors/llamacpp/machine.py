"""What the machine offers: cores and free memory."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_FILE_CACHE = ("inactive_file", "active_file")


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads of one core counted once."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS: half of what hyper-threading shows is not a concern there
        return os.cpu_count() or 1
    siblings = set()
    for cpu in allowed:
        try:
            path = _TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list"
            siblings.add(path.read_text())
        except OSError:
            siblings.add(str(cpu))
    return max(1, min(len(siblings), _quota()))


def available_bytes() -> int:
    """Memory that can be taken without swapping; 4 GiB where the system does not say."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        if limit != "max":
            found.append(max(0, int(limit) - max(0, used - _file_cache_bytes())))
    except (OSError, ValueError):
        pass
    if not found:
        try:
            found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
        except (AttributeError, ValueError, OSError):
            found.append(4 << 30)
    return min(found)


def _file_cache_bytes() -> int:
    """What the container holds of files: given back when memory is short, so as good as free."""
    try:
        rows = [line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines()]
        return sum(int(row[1]) for row in rows if row and row[0] in _FILE_CACHE)
    except (OSError, ValueError, IndexError):
        return 0


def _quota() -> int:
    """Whole CPUs that the container may use; a large number where there is no limit."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 20
