"""Stage train: Lightning and DDP, launched by Ray Train → artifacts/weights, artifacts/training."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and train."""
    from medimg.params import load
    from medimg.tasks import task_of
    from medimg.training.run import train

    params = load()
    train(task_of(params.study), params.study.seed, params.model, params.train, params.augment)


if __name__ == "__main__":
    run("train", main)
