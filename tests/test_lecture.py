"""The lecture's numbers, from the same module and fit as every training."""

import numpy as np
import pytest

from medimg.lecture import answers, errors, first_answers, heart_table, learn, scaled, truth_table


def right(fitted, name):
    table = truth_table(name)
    return int(((answers(fitted, table.inputs) > 0.5) == (table.truth > 0.5)).sum())


def test_the_first_answers_are_the_lectures():
    assert [round(float(value), 2) for value in first_answers()] == [0.38, 0.18, 0.62, 0.38]


def test_or_is_learned_with_the_lectures_errors():
    few = learn(truth_table("OR"), 10, 1.0)
    assert [round(error, 4) for error in (errors(few)[0], errors(few)[9])] == [0.3352, 0.1088]
    assert right(few, "OR") < 4
    assert right(learn(truth_table("OR"), 40, 1.0), "OR") == 4


def test_and_is_learned():
    assert right(learn(truth_table("AND"), 60, 1.0), "AND") == 4


def test_xor_is_not_learned_by_one_neuron_and_is_with_one_hidden_layer():
    one = learn(truth_table("XOR"), 100, 1.0)
    assert right(one, "XOR") < 4
    assert errors(one)[-1] == pytest.approx(0.25, abs=0.01)  # every answer is one half
    assert right(learn(truth_table("XOR"), 160, 10.0, hidden=2), "XOR") == 4


def test_the_risk_of_an_infarction_grows_with_blood_pressure_and_body_mass_index():
    heart = learn(heart_table(), 30, 0.5, loss="auto", started=False)
    low, more_pressure, more_weight = answers(heart, scaled([120, 170, 120], [22, 22, 38]))
    assert low < more_pressure
    assert low < more_weight
    assert np.ptp(answers(heart, heart_table().inputs)) > 0.5
