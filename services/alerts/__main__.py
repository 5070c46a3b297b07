"""`python -m services.alerts`."""

from services.alerts.main import main

main()
