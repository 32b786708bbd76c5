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
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity"),
    "f1": ("F1", "harmonic mean of sensitivity and positive predictive value"),
    "brier": ("Brier score", "mean squared error of the probability; 0 is perfect"),
    "log_loss": ("Log loss", "mean surprise; heavy on sure errors; 0 is perfect"),
    "ece": ("ECE", "mean distance between predicted and observed"),
    "ece_by_chance": ("ECE by chance", "what a perfectly calibrated model would show on as many units"),
    "calibration_intercept": ("Calibration intercept", "0 is ideal; above 0: probabilities too low on average"),
    "calibration_slope": ("Calibration slope", "1 is ideal; below 1: probabilities too extreme"),
}
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

REFUSALS: dict[str, str] = {
    Refusal.UNREADABLE: "The file cannot be read, or it is empty.",
    Refusal.CORRUPT: "Header or pixels do not decode.",
    Refusal.TRUNCATED: "The file ends before its pixels do.",
    Refusal.UNSUPPORTED: "A kind of compression or colour that medimg does not read yet.",
    Refusal.GEOMETRY: "A pixel spacing or shape that cannot be true.",
    Refusal.NOT_2D: "Several frames or slices where one image is expected.",
    Refusal.NO_PATIENT: "Nothing says whose image it is.",
    Refusal.CONFLICT: "Two files contradict each other about pixels or patient.",
    Refusal.BURNED_IN: "The header says that the pixels show text, which may identify the patient.",
    Refusal.CRASHED: "The process that read it died.",
    Refusal.TIMEOUT: "Reading it took longer than the limit.",
    Refusal.MEMORY: "Reading it took more memory than the limit.",
}

RULES = {
    "youden": "the largest sum of sensitivity and specificity (Youden)",
    "sensitivity": "the best specificity with a sensitivity of at least {target}",
    "specificity": "the best sensitivity with a specificity of at least {target}",
}
UNITS = {"image": ("image", "images"), "study": ("study", "studies"), "patient": ("patient", "patients")}

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
        "many such samples, {confidence} of the intervals hold the true value. It knows chance among these patients; "
        "it does not know other hospitals, scanners or years.",
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
