"""``python -m tritforge``: the command line."""

from tritforge.cli import main

if __name__ == "__main__":
    main()
