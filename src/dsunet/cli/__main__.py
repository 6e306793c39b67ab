"""`python -m dsunet.cli`."""

import sys

from dsunet.cli import main

if __name__ == "__main__":
    sys.exit(main())
