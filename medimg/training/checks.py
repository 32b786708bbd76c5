"""What cannot work, found before any process starts."""

from medimg.errors import TrainingError
from medimg.training import Job
from medimg.training.data import Part, train_batches


def check_shares(part: Part, job: Job, world: int) -> None:
    """Whether ``world`` workers can share the batches, and the network can learn from the shares.

    Raises:
        TrainingError: see ``TrainBatches`` and ``check_alone``.
    """
    if min(train_batches(part, job, rank, world).least for rank in range(world)) == 1:
        from medimg.training.statistics import check_alone

        check_alone(job, part.images.shape[1:])


def check_judge(job: Job, part: Part, name: str) -> None:
    """Whether the part that validates can tell a better epoch from a worse one.

    Raises:
        TrainingError: it has no image, or what decides the best epoch is undefined for lack of a class.
    """
    why = job.task.lacking(part.truth)
    if not len(part) or (why and job.train.monitor != "loss"):
        folds = "lower train.folds, " if job.train.folds else ""
        raise TrainingError(
            f"What is to decide the best epoch, {name} ({len(part)} images), has {why or 'no image'}. Add patients, "
            f"{folds}enlarge split.validation, or, where one class is all there is, set train.monitor: loss."
        )
