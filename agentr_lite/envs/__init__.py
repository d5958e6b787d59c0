"""Text environments: the protocol, the registry, the checker, and the built-in environments."""
