"""Stage ingest: every file under data/ → artifacts/index.parquet, or artifacts/quarantine.csv with the reason."""

from medimg.stage import run


def main() -> None:
    """Read the parameters and ingest."""
    from medimg.ingest import ingest
    from medimg.params import load

    params = load()
    ingest(params.study.label, params.ingest)


if __name__ == "__main__":
    run("ingest", main)
