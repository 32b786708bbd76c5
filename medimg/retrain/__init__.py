"""``medimg retrain``: a night, from new data to another champion or a reason why not. docs/retrain.md tells it.

Each step is a function that can be read alone. What is between steps is on disk and in Git: a night that is cut off at
any moment has changed nothing, or has pushed its one commit, and the next night goes on from there.
"""

import errno
import sys
import time
import traceback
from pathlib import Path

from medimg.errors import AwayError, BusyError, MedimgError, NightError, ParamsError
from medimg.retrain.outcome import DISK_IS_FULL, Outcome, Status

__all__ = ["Outcome", "Status", "retrain"]


def retrain(study: Path = Path(), force: bool = False, anew: bool = False) -> Outcome:
    """Play one night in ``study``; what happened is in the outcome, and no error gets out.

    Args:
        study: the folder of a study that is under Git, with a remote, and under DVC.
        force: train although nothing is new.
        anew: hold the challenger to the rules of a first model, for the champion can be compared with nothing any more.
    """
    from medimg.files import lock
    from medimg.retrain.journal import now
    from medimg.retrain.night import play
    from medimg.retrain.repository import ROOM

    outcome, start = Outcome(started=now()), time.monotonic()
    study = study.resolve()
    try:
        with lock(study / ROOM / "lock", "A night"):
            play(study, outcome, force or anew, anew)
    except BusyError as error:
        outcome.status, outcome.sentence = Status.BUSY, str(error)
    except NightError as error:
        outcome.status, outcome.sentence = Status(error.status), str(error)
    except ParamsError as error:
        outcome.status, outcome.sentence = Status.USAGE, str(error)
    except AwayError as error:
        outcome.status, outcome.sentence = Status.POSTPONED, f"{error} Nothing was changed; the next night tries again."
    except MedimgError as error:
        outcome.status, outcome.sentence = Status.FAILED, str(error)
    except Exception as error:  # a defect: whoever watches over nights learns of it all the same
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            outcome.status, outcome.sentence = Status.POSTPONED, DISK_IS_FULL
        else:
            if outcome.step == "import":  # before the border: the text of an error may quote a patient
                print("".join(["Traceback\n", *traceback.format_tb(error.__traceback__), type(error).__name__]),
                      file=sys.stderr)  # fmt: skip
            else:
                traceback.print_exc()
            outcome.status = Status.FAILED
            outcome.sentence = (
                "A defect of medimg: the traceback stands above. What is published is whole: medimg history."
            )
    outcome.seconds = round(time.monotonic() - start, 1)
    if outcome.status != Status.BUSY:
        try:
            _tell(study, outcome)
        except Exception as error:  # a full disk, a damaged file of addresses, a defect there: the night is what it was
            outcome.warnings.append(f"Whoever is to be told of nights was perhaps not: {type(error).__name__}.")
    return outcome


def _tell(study: Path, outcome: Outcome) -> None:
    """Tell whoever wants to know; what goes wrong there is a warning."""
    from medimg.params import load
    from medimg.retrain.tell import tell, write_textfile

    try:
        settings = load(study / "params.yaml").retrain
    except ParamsError:  # which is what the outcome says
        return
    if settings.textfile:
        try:
            write_textfile(study / Path(settings.textfile).expanduser(), outcome)
        except OSError as error:
            outcome.warnings.append(f"retrain.textfile could not be written: {error.strerror}.")
    if said := tell(study, settings, outcome):
        outcome.warnings.append(said)
