"""``python -m medimg`` is the command ``medimg``."""

from medimg.cli import main

main()
