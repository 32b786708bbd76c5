"""Send the study in the current folder to a Ray cluster: the same as ``medimg submit``."""

import sys

from medimg.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["submit"]
    main()
