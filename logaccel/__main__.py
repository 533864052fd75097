"""`python -m logaccel`."""

from logaccel.cli import main

main()
