"""Compute and print the bundled book's task manifest (``data/tasks.json``)."""

import sys

from agentr_lite.envs.textcraft.tasks import build_manifest, manifest_text

if __name__ == "__main__":
    sys.stdout.write(manifest_text(build_manifest()))
