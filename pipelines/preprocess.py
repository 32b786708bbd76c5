"""Stage preprocess: every image through MONAI's deterministic transforms → artifacts/store."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and preprocess."""
    from medimg.params import load
    from medimg.preprocess import preprocess

    params = load()
    preprocess(params.preprocess, params.ingest.sample, params.ingest.geometry)


if __name__ == "__main__":
    run("preprocess", main)
