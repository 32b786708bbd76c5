"""Stage predict: each image of validation, test and promotion exactly once → artifacts/predictions.parquet."""

from medimg.params import Params
from medimg.stage import run


def main() -> None:
    """Read the parameters; predict here, or on a node of the cluster that has what it takes."""
    from medimg.params import load
    from medimg.work import elsewhere

    elsewhere(score, load(), stage="predict")


def score(params: Params) -> None:
    """Predict, and ask the network where it looks."""
    from medimg.inference import predict
    from medimg.probe import probe
    from medimg.tasks import task_of

    task = task_of(params.study)
    predict(task, params.predict)
    probe(task, params.predict, params.saliency, params.evaluate.shortcuts.rim, params.study.seed)


if __name__ == "__main__":
    run("predict", main)
