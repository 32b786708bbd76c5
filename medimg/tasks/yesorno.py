"""What tasks of yes-or-no labels share: one label of a binary task, several of a multilabel one."""

import numpy as np

from medimg.tasks.ranking import clipped_logit, measured


class YesOrNo:
    """K logits are K questions of their own, each answered by the logistic function."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logistic function of each logit, float64 ``(N, K)``."""
        from scipy.special import expit

        return np.asarray(expit(logits.astype(np.float64)))

    def logits(self, probabilities: np.ndarray) -> np.ndarray:
        """Logit of each probability, float64 ``(N, K)``."""
        return clipped_logit(probabilities)

    def questions(self, truth: np.ndarray) -> np.ndarray:
        """The truth itself."""
        return truth

    def odds(self, logits: np.ndarray) -> np.ndarray:
        """The logits themselves."""
        return logits

    def pooled(self, truth: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Positive if any image is, not known if no image's label is."""
        return np.asarray(np.fmax.reduceat(truth, starts))

    def measure(self, name: str, logits: np.ndarray, truth: np.ndarray) -> float:
        """See ``ranking.measured``; what is at least one half is a yes."""
        probability = self.probabilities(logits)
        return measured(name, truth, probability, probability >= 0.5)
