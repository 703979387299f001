"""`python -m accelerapp` is the command `accelerapp`."""

import sys

from accelerapp.cli import main

if __name__ == "__main__":
    sys.exit(main())
