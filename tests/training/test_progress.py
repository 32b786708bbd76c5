import io
import json
import time

from medimg.params import Train
from medimg.training.progress import bar, follow, writer
from medimg.training.watch import few, warnings

STATE = {"epoch": 1, "epochs": 4, "share": 0.5, "loss": 0.25, "score": 0.75, "rate": 120.0, "left": 3700}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(out, log):
    with follow(log, out):
        say = writer(log)
        say("epoch 1/4")
        say(json.dumps(STATE))
        say("epoch 2/4")
        time.sleep(0.1)
    return out.getvalue()


def test_a_log_gets_lines_alone(tmp_path):
    assert shown(io.StringIO(), tmp_path / "log") == "epoch 1/4\nepoch 2/4\n"


def test_a_terminal_gets_a_bar_that_leaves_no_trace_among_the_lines(tmp_path):
    text = shown(Terminal(), tmp_path / "log")
    assert bar(STATE) + "\r\x1b[K" in text
    assert text.replace("\r\x1b[K", "\n").count("epoch 2/4\n") == 1


def test_the_bar_says_loss_score_speed_and_time_left():
    assert bar(STATE) == (
        "epoch 2/4 [============            ]  loss 0.2500  score 0.7500  120 images/s  1:01:40 left at most"
    )


def row(**changed):
    usual = {"train_loss": 0.5, "learning_rate": 1e-3, "update": 1e-3, "waiting": 0.01, "spread": 0.3}
    return usual | changed


def kinds(*rows):
    return set(warnings(list(rows), Train()))


def test_a_usual_run_has_no_warning():
    assert kinds(row(train_loss=0.7), row(train_loss=0.6), row()) == set()


def test_batch_norms_that_see_too_few_images_at_a_time_are_named():
    assert few(32, norms=20) == few(4, norms=20) == few(1, norms=0) == {}
    assert "sees 1.97 images at a time" in few(1.9688, norms=20)["norm"]


def test_what_is_wrong_is_named():
    assert kinds(row(), row(), row()) == {"loss"}
    assert kinds(row(train_loss=0.7), row(train_loss=0.6), row(spread=0.001)) == {"same"}
    assert kinds(row(waiting=0.4)) == {"waiting"}
    assert kinds(row(update=0.5)) == kinds(row(update=1e-8)) == {"rate"}
    assert kinds(row(update=1e-8, learning_rate=1e-6)) == set()  # at the end of the cosine a small step is meant
