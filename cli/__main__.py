"""`python -m cli` is `regente`."""

from cli.main import main

main()
