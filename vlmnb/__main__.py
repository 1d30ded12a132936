"""``python -m vlmnb``."""

from vlmnb.cli import main

main()
