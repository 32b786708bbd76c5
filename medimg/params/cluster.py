"""The block ``cluster``: what pieces of work take of a Ray cluster. It decides no result; no stage depends on it."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from medimg.params.block import Block


class Resources(Block):
    """What one piece of a stage's work takes: a node must have that much free."""

    cpus: float = Field(1, gt=0, description="CPU slots; of a worker of train also its threads, where there is no GPU")
    gpus: float | None = Field(
        None, ge=0, description="GPUs; null: one for train and predict where the cluster has any"
    )
    memory: float | None = Field(None, gt=0, description="GiB that are set aside; null: not counted")


class Cluster(Block):
    """What work takes of the Ray cluster that RAY_ADDRESS names."""

    ingest: Resources = Field(Resources(), description="each of the tasks that read files")
    preprocess: Resources = Field(Resources(), description="each of the tasks that make the store")
    train: Resources = Field(Resources(), description="each worker")
    predict: Resources = Field(Resources(), description="the one task that scores")
    placement: Literal["pack", "spread"] = Field(
        "pack", description="workers of train on few nodes, or on as many as there are"
    )
    wait: float = Field(
        30,
        ge=0,
        description="seconds for which nodes that are missing may still come; more where a cluster scales itself",
    )
    checkpoints: str | None = Field(
        None,
        description="URL where checkpoints of train are kept too, such as s3://bucket/checkpoints; null: in the "
        "study's folder alone",
    )

    @field_validator("checkpoints")
    @classmethod
    def _without_a_secret(cls, url: str | None) -> str | None:
        """params.yaml is in Git and in every report."""
        if url and (urlsplit(url).password or urlsplit(url).query):
            raise ValueError(
                "cluster.checkpoints holds a password or a key, for all to read. The file system takes them "
                "from the environment, such as AWS_ACCESS_KEY_ID; write the place alone, such as s3://bucket/checkpoints"
            )
        return url
