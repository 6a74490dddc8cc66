"""`python -m snrlab` is the command line."""

from snrlab.cli import main

if __name__ == "__main__":
    main()
