"""Stage preview: what the network will see, plain and augmented → artifacts/preview.png."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and draw the contact sheet."""
    from medimg.params import load
    from medimg.preview import preview
    from medimg.tasks import task_of

    params = load()
    stacking = params.ingest.geometry if params.ingest.sample == "volume" else None
    preview(task_of(params.study), params.study.seed, params.preview, params.augment, stacking)


if __name__ == "__main__":
    run("preview", main)
