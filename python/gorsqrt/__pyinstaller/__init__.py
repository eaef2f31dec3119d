"""For PyInstaller, which asks packages for their hooks by an entry point."""

from pathlib import Path


def hook_dirs():
    return [str(Path(__file__).parent)]
