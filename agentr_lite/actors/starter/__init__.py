"""The bundled starter model and the code that makes it."""
