"""Stage evaluate: threshold from validation, metrics with intervals on test → artifacts/evaluation."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and evaluate."""
    from medimg.evaluation import evaluate
    from medimg.params import load

    evaluate(load())


if __name__ == "__main__":
    run("evaluate", main)
