"""Stage predict: each validation and test image exactly once → artifacts/predictions.parquet."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and predict."""
    from medimg.inference import predict
    from medimg.params import load
    from medimg.tasks import task_of

    params = load()
    predict(task_of(params.study), params.predict)


if __name__ == "__main__":
    run("predict", main)
