"""`python -m dsunet`."""

import sys

from dsunet.cli import main

if __name__ == "__main__":
    sys.exit(main())
