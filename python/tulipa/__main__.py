"""`python -m tulipa`: the same as the command `tulipa`."""

from tulipa.cli import main

if __name__ == "__main__":
    main()
