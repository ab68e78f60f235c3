import pickle

import pytest

from raysplit import errors
from raysplit.errors import MissingExtra, RaysplitError, RequestError, nearest

KNOWN = ["features.7", "features.10", "classifier"]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("features.9", KNOWN, "Nearest: features.7, features.10."),
        ("clasifier", KNOWN, "Nearest: classifier."),
        ("zzz", KNOWN, "Known: features.7, features.10, classifier."),
        ("zzz", range(12), "Known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11."),
        ("zzz", range(13), "Known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …."),
        ("zzz", [], ""),
        ("zzz", (k for k in ["a", "b"]), "Known: a, b."),
    ],
)
def test_nearest(name, known, hint):
    assert nearest(name, known) == hint


def test_nearest_count():
    assert nearest("features.9", KNOWN, count=1) == "Nearest: features.7."


def test_missing_extra():
    error = MissingExtra.of("optuna", "search", "raysplit search")
    assert str(error) == "raysplit search needs the package 'optuna': pip install 'raysplit[search]'"


def test_one_family():
    """A caller can catch everything that raysplit raises on purpose."""
    family = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert len(family) == 15 and all(issubclass(e, RaysplitError) and e.__doc__ for e in family)


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith(("Error", "Extra"))])
def test_errors_survive_a_trip_between_processes(name):
    error = getattr(errors, name)("one line")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == "one line"


def test_the_status_of_a_request_travels_too():
    assert RequestError("one line").status == 400
    assert pickle.loads(pickle.dumps(RequestError("one line", 413))).status == 413
