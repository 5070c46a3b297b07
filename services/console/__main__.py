"""`python -m services.console` starts the service."""

from services.console.main import main

main()
