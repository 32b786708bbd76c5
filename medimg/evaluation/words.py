"""The report's plain language: what each metric, refusal and term means."""

from medimg.errors import Refusal

METRICS = {
    "auroc": ("AUROC", "how well positives rank above negatives; 0.5 is guessing, 1 is perfect"),
    "auprc": ("AUPRC", "average precision; guessing scores the share of positives"),
    "sensitivity": ("Sensitivity", "share of the positive that are found"),
    "specificity": ("Specificity", "share of the negative that are called negative"),
    "ppv": ("Positive predictive value", "share of the alarms that are right, at the share of positives in test"),
    "npv": ("Negative predictive value", "share of the all-clears that are right, at the share of positives in test"),
    "ppv_at_prevalence": ("PPV at {prevalence}", "share of the alarms that are right, where {prevalence} are positive"),
    "npv_at_prevalence": (
        "NPV at {prevalence}",
        "share of the all-clears that are right, where {prevalence} are positive",
    ),
    "accuracy": ("Accuracy", "share of all decisions that are right"),
    "lr_positive": ("Likelihood ratio +", "how much more often the positive are called positive than the negative are"),
    "lr_negative": ("Likelihood ratio −", "how much more often the positive are called negative; 0 is ideal"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity"),
    "f1": ("F1", "harmonic mean of sensitivity and positive predictive value"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "log_loss": ("Log loss", "mean surprise; heavy on sure errors; 0 is perfect"),
    "ece": ("ECE", "mean distance between predicted and observed"),
    "ece_by_chance": ("ECE by chance", "what a perfectly calibrated model would show on as many units"),
    "mae": ("Mean absolute error", "how far off a prediction is on average, in the unit of the label"),
    "rmse": ("Root mean squared error", "the same, with large errors weighing more"),
    "r2": ("R²", "share of the variance that is explained; 0 is always saying the mean, 1 is perfect"),
    "bias": ("Mean error", "above 0: predictions too high on average"),
    "correlation": ("Correlation", "Pearson's; says nothing about a constant shift"),
    "calibration_intercept": ("Calibration intercept", "0 is ideal; above 0: probabilities too low on average"),
    "calibration_slope": ("Calibration slope", "1 is ideal; below 1: probabilities too extreme"),
}
OVERALL = {
    "multiclass": {
        "auroc": ("AUROC, mean of the classes", "how well units of a class rank above the rest; 0.5 is guessing"),
        "auprc": ("AUPRC, mean of the classes", "average precision of each class against the rest"),
        "accuracy": ("Accuracy", "share of the units whose most probable class is the right one"),
        "balanced_accuracy": ("Balanced accuracy", "mean over the classes of the share that is recognised"),
        "f1": ("F1, mean of the classes", "harmonic mean of sensitivity and positive predictive value"),
        "brier": ("Brier score", "squared errors of all classes' probabilities, summed; 0 is perfect, 2 the worst"),
        "ece": ("ECE of the choice", "mean distance between the chosen class's probability and how often it is right"),
    },
    "multilabel": {
        "auroc": ("AUROC, mean of the labels", "how well positives rank above negatives; 0.5 is guessing"),
        "auprc": ("AUPRC, mean of the labels", "average precision; guessing scores the share of positives"),
        "balanced_accuracy": ("Balanced accuracy, mean", "mean of sensitivity and specificity, over the labels"),
        "f1": ("F1, mean of the labels", "harmonic mean of sensitivity and positive predictive value"),
        "brier": ("Brier score, mean", "mean squared error of the probability, over the labels"),
        "log_loss": ("Log loss, mean", "mean surprise, over the labels"),
    },
    "regression": {
        "calibration_slope": ("Slope of truth on prediction", "1 is ideal; below 1: predictions too extreme"),
    },
}
"""What a metric of all questions together is called, where it is not what it is of one."""

PERCENTAGES = {
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "ppv_at_prevalence",
    "npv_at_prevalence",
    "accuracy",
    "balanced_accuracy",
}

REFUSALS: dict[str, str] = {code: code.sentence for code in Refusal}

RULES = {
    "youden": "the largest sum of sensitivity and specificity (Youden)",
    "sensitivity": "the best specificity with a sensitivity of at least {target}",
    "specificity": "the best sensitivity with a specificity of at least {target}",
    "cost": "the least cost on validation, where a missed finding weighs {target} false alarms",
}
UNITS = {"image": ("image", "images"), "study": ("study", "studies"), "patient": ("patient", "patients")}


def words_of(name: str, task: str) -> tuple[str, str]:
    """Title and meaning of a metric of a whole task."""
    return OVERALL.get(task, {}).get(name, METRICS[name])


GLOSSARY = [
    (
        "AUROC",
        "Take one positive and one negative at random: the AUROC is the chance that the model gives the positive the "
        "higher probability. 0.5 is guessing, 1 is perfect. It needs no threshold and says nothing about how many "
        "alarms are right.",
    ),
    (
        "Interval",
        "Another sample of patients would have given another number. The {confidence} interval is made so that, over "
        "many such samples, {confidence} of the intervals hold the true value. It is conditional on this model and "
        "this threshold: it knows chance among these patients, not that of another training or another validation "
        "part, and nothing of other hospitals, scanners or years.",
    ),
    ("Sensitivity and specificity", "The share of the positive that the model finds, and the share of the negative "
     "that it calls negative, both at the threshold."),
    (
        "Predictive values",
        "Of those called positive, the share that is positive (PPV); of those called negative, the share that is "
        "negative (NPV). They change with how common the finding is: a PPV from a clinic does not hold in screening.",
    ),
    (
        "Threshold",
        "A unit is called positive when its probability is at the threshold or above. It was chosen on the validation "
        "part; the test part had no say.",
    ),
    (
        "Calibration",
        "Whether a probability can be taken at its word: of all units given 80 %, 80 % should be positive. ECE is the "
        "mean distance from that; on few units it is above 0 by chance alone, so the value by chance stands beside it.",
    ),
    (
        "Train, validation, test",
        "Patients are dealt into three parts, each patient into one. The model learns from train; epoch and threshold "
        "are chosen on validation; the numbers here come from test, which was used for nothing else.",
    ),
]  # fmt: skip
