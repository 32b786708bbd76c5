"""The blocks of learning: ``model``, ``train``, ``predict``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medimg.params.block import Block, Fraction, Probability

Name = Literal[
    "perceptron",
    "mlp",
    "lenet5",
    "alexnet",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "densenet121",
    "densenet169",
    "densenet201",
    "densenet264",
    "efficientnet-b0",
    "efficientnet-b1",
    "efficientnet-b2",
    "efficientnet-b3",
    "efficientnet-b4",
    "efficientnet-lite0",
]

MONITORS = {
    "binary": ("auroc", "auprc", "balanced_accuracy", "f1", "brier"),
    "multiclass": ("auroc", "auprc", "accuracy", "balanced_accuracy", "f1", "brier"),
    "multilabel": ("auroc", "auprc", "balanced_accuracy", "f1", "brier"),
    "regression": ("r2", "mae", "rmse"),
}
"""The metrics of validation that may decide the best epoch of a task, beside its score and its loss."""
LESS_IS_BETTER = ("loss", "brier", "mae", "rmse")


class Model(Block):
    """The network."""

    name: Name = Field("resnet18", description="architecture, for 2D images and volumes (efficientnet-lite0: 2D)")
    hidden: int = Field(32, ge=1, description="neurons in the hidden layer of the mlp")
    weights: str = Field(
        "none",
        description="none: from scratch; imagenet or medicalnet: as published; else a .safetensors or .pt file, "
        "a medimg weights folder or bundle, or an https address",
    )
    weights_sha256: str | None = Field(
        None, description="the SHA-256 that the weights file must have; null: any, and train says which it was"
    )
    normalisation: Literal["auto", "centred", "unit", "imagenet", "cohort", "zscore"] = Field(
        "auto",
        description="what the network's first step makes of 0…1. auto: what the weights were trained with, or centred; "
        "centred: -1…1; unit: 0…1; imagenet: ImageNet's mean and deviation, three colours; "
        "cohort: mean and deviation of the training images, each channel; "
        "zscore: each image by mean and deviation of its own values above 0, as MedicalNet",
    )


class Train(Block):
    """How the network is fitted."""

    workers: int = Field(1, ge=1, description="processes that share each batch (DDP); on GPUs, one each")
    least_workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="go on with as few while the cluster has no more; null: with train.workers or not at all"
    )
    folds: Annotated[int, Field(ge=3, le=20)] | None = Field(
        None, description="cross-validation: so many networks, each without one fold of the patients who are not test"
    )
    batch_size: int = Field(32, ge=2, description="samples in a batch of the whole job")
    accumulate: int = Field(1, ge=1, description="pieces in which a worker takes its share of a batch, to save memory")
    max_epochs: int = Field(30, ge=1, description="passes over the training images at most")
    patience: int = Field(10, ge=1, description="stop after this many epochs in which train.monitor was not better")
    monitor: Literal[
        "score", "loss", "auroc", "auprc", "accuracy", "balanced_accuracy", "f1", "brier", "r2", "mae", "rmse"
    ] = Field(
        "score",
        description="what of validation decides the best epoch and when to stop. score: AUROC, its mean over classes "
        "or labels, or R²; loss; or a metric of the task's own, decisions taken at one half or for the likeliest class",
    )
    loss: Literal["auto", "focal", "squared"] = Field(
        "auto", description="auto: cross-entropy, or squared error of a number; squared: ½(y - t)² of probabilities"
    )
    focal_gamma: float = Field(2, ge=0, description="how much less the focal loss minds what is right already")
    label_smoothing: Fraction = Field(0, description="share of the truth that is given to all classes alike")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: the loss counts rare classes more, so that all classes count alike"
    )
    sampling: Literal["all", "balanced"] = Field(
        "all", description="balanced: an epoch has as many images of each class, rare ones several times"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="how gradients become steps")
    momentum: Fraction = Field(0.9, description="of sgd; 0: plain gradient descent")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="weight decay, decoupled in adamw")
    warmup_epochs: float = Field(1, ge=0, description="epochs of linear warm-up")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="the learning rate after the warm-up")
    depth_decay: float = Field(
        1, gt=0, le=1, description="the input's layers learn at this times the last layer's rate, those in between"
    )
    freeze: Probability = Field(
        0, description="share of the layers, from the input, that keep their starting weights; 1: all but the last"
    )
    unfreeze_epochs: int = Field(
        0, ge=0, description="the last layer learns first, the others join one by one; after these epochs all learn"
    )
    ema: Fraction = Field(0, description="average the weights over steps with this decay, such as 0.999; 0: no")
    clip: float | None = Field(None, gt=0, description="the gradient's norm at most")
    precision: Literal["auto", "32", "bf16"] = Field("auto", description="auto: bf16 where the device is faster at it")
    max_failures: int = Field(2, ge=0, description="how often dead workers are replaced before the run gives up")
    hang_seconds: float = Field(
        600, ge=10, description="workers that get nowhere for so long count as dead: more than the slowest step takes"
    )
    tensorboard: bool = Field(False, description="write TensorBoard's files to .medimg/tensorboard/, each epoch")

    @property
    def fewest(self) -> int:
        """Workers with which a run goes on."""
        return self.least_workers or self.workers

    def pieces(self, world: int) -> int:
        """In which each of ``world`` workers takes its share: those of absent workers too, where they divide evenly."""
        shares = self.workers * self.accumulate
        return self.accumulate if shares % world else shares // world

    @model_validator(mode="after")
    def _few_before_many(self) -> "Train":
        if self.fewest > self.workers:
            raise ValueError(f"least_workers {self.fewest} is more than workers {self.workers}")
        return self

    @model_validator(mode="after")
    def _balanced_once(self) -> "Train":
        if self.sampling == "balanced" and self.class_weights == "balanced":
            raise ValueError(
                "sampling: balanced and class_weights: balanced both make rare classes count as much as frequent ones; "
                "together they make them count more. Set one of them to all or none"
            )
        return self


class Predict(Block):
    """One forward pass over validation, test and promotion."""

    batch_size: int = Field(64, ge=1, description="samples at a time")
