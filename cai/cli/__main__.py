"""`python -m cai.cli`, for launchers that start a module."""

from cai.cli import main

main()
