"""Stage split: each patient into one part, for life → splits.csv, artifacts/parts.parquet."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and split."""
    from medimg.params import load
    from medimg.split import split
    from medimg.tasks import task_of

    params = load()
    split(task_of(params.study), params.study.seed, params.split, params.train.folds)


if __name__ == "__main__":
    run("split", main)
