"""`python -m meterseal` is the program `meterseal`."""

from meterseal.cli import main

main()
