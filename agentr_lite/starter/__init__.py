"""The bundled model (its card: docs/starter.md); ``maker`` remakes it, outside the wheel."""
