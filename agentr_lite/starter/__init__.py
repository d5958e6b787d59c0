"""The bundled model (model card: docs/starter.md); ``maker``, not in the wheel, remakes it."""
