"""Every refusal has an exit code of its own and reads as one line."""

from __future__ import annotations

import pytest

from pipeline import errors
from pipeline.errors import PipelineError, nearest


def tree(base: type[PipelineError] = PipelineError) -> list[type[PipelineError]]:
    """Return the class and all below it."""
    return [base, *(found for sub in base.__subclasses__() for found in tree(sub))]


def test_no_two_errors_share_an_exit_code() -> None:
    codes: dict[int, list[str]] = {}
    for error in tree():
        codes.setdefault(error.exit_code, []).append(error.__name__)
    assert {code: names for code, names in codes.items() if len(names) > 1} == {}


@pytest.mark.parametrize("error", tree(), ids=lambda error: error.__name__)
def test_an_exit_code_is_one_that_a_shell_keeps_apart(error: type[PipelineError]) -> None:
    # 2 is a wrong command line, 126 and more belong to the shell and to signals.
    assert error.exit_code == 1 or 3 <= error.exit_code < 126
    assert "exit_code" in vars(error)
    assert error.__doc__


def test_all_errors_are_in_the_one_tree() -> None:
    defined = {value for value in vars(errors).values() if isinstance(value, type)}
    assert {value for value in defined if issubclass(value, BaseException)} == {
        error for error in tree() if error.__module__ == errors.__name__
    }


def test_codes_rise_with_the_source_so_that_the_groups_hold() -> None:
    codes = [error.exit_code for error in tree() if error.__module__ == errors.__name__]
    assert codes == sorted(codes)


def test_an_error_says_what_failed_and_then_what_to_do() -> None:
    error = PipelineError("platform 'arm65' is not supported", hint="choose amd64 or arm64")
    assert str(error) == "platform 'arm65' is not supported; choose amd64 or arm64"
    assert str(PipelineError("only this")) == "only this"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prodution", "did you mean 'production'?"),
        ("bas", "did you mean 'base'?"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_name_is_offered_where_one_is_near(name: str, expected: str) -> None:
    assert nearest(name, ("base", "production")) == expected


@pytest.mark.parametrize("error", tree()[1:], ids=lambda error: error.__name__)
def test_each_says_what_it_means_and_what_to_do(error: type[PipelineError]) -> None:
    """Of which `invoke docs` makes a table."""
    if error.__module__ != errors.__name__:
        return
    meaning, _, remedy = (error.__doc__ or "").partition("\n\n")
    for paragraph in (meaning, remedy):
        assert len(paragraph.split()) > 3, error
        assert paragraph.strip().endswith(".")
