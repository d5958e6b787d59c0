"""The machine's cores and free memory."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_FILE_CACHE = ("inactive_file", "active_file")


def physical_cores() -> int:
    """Number of cores that this process may use; hyper-threads of a core count once."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS: its current machines have no hyper-threads
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
    """Memory that can be used without swapping; 4 GiB if the system does not tell."""
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        if limit != "max":
            limits.append(max(0, int(limit) - max(0, used - _file_cache_bytes())))
    except (OSError, ValueError):
        pass
    if not limits:
        try:
            limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
        except (AttributeError, ValueError, OSError):
            limits.append(4 << 30)
    return min(limits)


def _file_cache_bytes() -> int:
    """The container's cache of files, which is freed when memory is short."""
    try:
        rows = [line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines()]
        return sum(int(row[1]) for row in rows if row and row[0] in _FILE_CACHE)
    except (OSError, ValueError, IndexError):
        return 0


def _quota() -> int:
    """Whole CPUs that the container may use; a large number if there is no limit."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 20
