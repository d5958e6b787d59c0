from dataclasses import dataclass
@dataclass(frozen=True)
class MemoryPlan:
    workers: int = 2
    recomputed: int = 10**6
    part_tokens: int = 512
