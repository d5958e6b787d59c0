"""Text environments: the protocol, the registry, the checker, and those that come along."""
