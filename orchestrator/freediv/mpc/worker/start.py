"""`python -m ...start MODULE ARGUMENTS`: runs a worker's module, whose start is two seconds of imports.

They make half a million objects that stay. To search them for garbage again and again would take a sixth of that time.
"""

from __future__ import annotations

import gc
import runpy
import sys


def main() -> None:
    """Run the module that the first argument names, without collecting garbage until it says so."""
    gc.disable()
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
