"""`python -m rollbackd` is `rollbackd`."""

from rollbackd.cli import main

if __name__ == "__main__":
    main()
