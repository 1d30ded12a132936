"""Run the command line with ``python -m vlmnb``."""

from vlmnb.cli import main

main()
