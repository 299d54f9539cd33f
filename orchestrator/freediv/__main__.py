"""`python -m freediv`."""

from .cli import main

main()
