"""`python -m services.executor`."""

from services.executor.main import main

if __name__ == "__main__":
    main()
