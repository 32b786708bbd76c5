"""Stage bundle: weights, architecture, preprocessing and operating point in one folder → artifacts/bundle."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and bundle."""
    from medimg.bundle import bundle
    from medimg.params import load

    bundle(load())


if __name__ == "__main__":
    run("bundle", main)
