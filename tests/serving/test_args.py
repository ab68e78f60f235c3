"""The args of applications."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raysplit.serving.args import EnsembleArgs, Limits, SplitArgs


def test_each_sub_model_has_its_own_deployment_unless_grouped():
    args = EnsembleArgs(bundle="b", groups={"left": (3, 0)})
    assert args.assign_deployments(5) == {"left": (3, 0), "submodel-1": (1,), "submodel-2": (2,), "submodel-4": (4,)}
    with pytest.raises(ValueError, match="group 'left' lists sub-model 3; the ensemble has sub-models 0 to 2"):
        args.assign_deployments(3)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"groups": {"a": [0], "b": [0]}}, "groups list sub-model 0 twice"),
        ({"groups": {"a": []}}, "group 'a' is empty"),
        ({"groups": {"submodel-0": [1]}}, "group 'submodel-0' clashes with another deployment"),
        ({"groups": {"Ingress": [1]}}, "group 'Ingress' clashes with another deployment"),
        ({"max_batch": 8}, "limits.images 64 is more than max_batch 8"),
        ({"bundel": "x"}, "Nearest: bundle"),
        ({"missing": "skip"}, "'wait', 'drop' or 'fail'"),
        ({"name": "a/b"}, "pattern"),
    ],
)
def test_invalid_args_are_refused(wrong, text):
    with pytest.raises(ValidationError, match=text):
        EnsembleArgs.model_validate({"bundle": "b"} | wrong)


def test_a_split_application_needs_a_family():
    with pytest.raises(ValidationError, match="family"):
        SplitArgs.model_validate({})


def test_the_body_limit_in_bytes():
    assert Limits(body_mib=1 / 16).body_bytes == 2**16


def test_split_applications_have_no_limit_of_pixels():
    """Devices decode image files; the limit would do nothing."""
    with pytest.raises(ValueError, match=r"limits\.pixels is of image files"):
        SplitArgs(family="f", limits=Limits(pixels=5))
    assert SplitArgs(family="f", limits=Limits(body_mib=1)).limits.body_mib == 1
