"""`python -m raysplit`: the `raysplit` command."""

from raysplit.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
