"""`python -m fieldstone`."""

from fieldstone.cli import main

main()
