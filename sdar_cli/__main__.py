"""``python -m sdar_cli``: the ``sdar`` command."""

from sdar_cli.cli import main

if __name__ == "__main__":
    main()
