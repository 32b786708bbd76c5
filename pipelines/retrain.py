"""A night, outside the pipeline: new data → dvc repro → champion against challenger → promote or keep."""

import sys

from medimg.retrain import retrain


def main() -> int:
    """Play it, say it in one line of JSON, and return the exit status."""
    outcome = retrain(force="--force" in sys.argv[1:], anew="--anew" in sys.argv[1:])
    print(outcome.sentence)
    print(outcome.line())
    return int(outcome.status)


if __name__ == "__main__":
    sys.exit(main())
