from pathlib import Path

import pytest

from app_container.interpolation import InterpolationError, interpolate


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("plain", {}, "plain"),
        ("${A}", {"A": "x"}, "x"),
        ("${A:d}", {}, "d"),
        ("${A:d}", {"A": ""}, "d"),
        ("${A:d}", {"A": "x"}, "x"),
        ("bolt://${H:localhost}:${P:7687}/", {"P": "1"}, "bolt://localhost:1/"),
        ("${A:${B:c}}", {}, "c"),
        ("${A:${B:c}}", {"B": "b"}, "b"),
        ("${A:bolt://h:1}", {}, "bolt://h:1"),
        ("$${A}", {"A": "x"}, "${A}"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("${A:}", {}, ""),
        ("costs $5", {}, "costs $5"),
    ],
)
def test_variables_are_replaced(text: str, environ: dict[str, str], expected: str) -> None:
    result = interpolate(text, environ)
    assert result.text == expected
    assert result.missing == ()


def test_a_required_variable_that_is_not_set_is_named() -> None:
    assert interpolate("${A:${B}}-${C}", {}).missing == ("B", "C")


@pytest.mark.parametrize("text", ["${", "${A", "${1A}", "${}", "${A B}", "${A:${B}", "${A:-b}", "${A:?b}"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InterpolationError):
        interpolate(text, {})


@pytest.mark.parametrize(
    ("text", "expected", "variables"),
    [
        ("${A}", "from the file", ("A_FILE",)),
        ("${A:d}", "from the file", ("A_FILE",)),
        ("${B:${A}}", "from the file", ("B", "A_FILE")),
        ("${B:${A:d}}", "from the file", ("B", "A_FILE")),
        ("${A:${B}}", "from the file", ("A_FILE", "B")),
    ],
)
def test_a_value_may_come_from_a_file(text: str, expected: str, variables: tuple[str, ...]) -> None:
    Path("secret").write_text("from the file\n")
    result = interpolate(text, {"A_FILE": "secret"})
    assert (result.text, result.variables, result.file) == (expected, variables, Path("secret"))
    assert [*result.missing, *result.faults] == []


def test_a_file_may_be_a_part_of_a_value() -> None:
    Path("secret").write_text("b")
    result = interpolate("a${B}c${D:d}", {"B_FILE": "secret", "D_FILE": ""})
    assert (result.text, result.file) == ("abcd", None)


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a ", " a "), ("ü".encode(), "ü"), (b"${B}", "${B}")],
)
def test_one_line_break_at_the_end_of_a_file_is_not_of_the_value(content: bytes, value: str) -> None:
    Path("secret").write_bytes(content)
    assert interpolate("${A}", {"A_FILE": "secret"}).text == value


def test_the_file_of_a_variable_that_is_not_needed_is_not_missed() -> None:
    assert interpolate("${A:${B}}", {"A": "a", "B_FILE": "nowhere"}).faults == ()


def test_a_variable_that_gives_no_value_is_at_fault_even_if_there_is_a_default() -> None:
    (fault,) = interpolate("${A:d}", {"A_FILE": "nowhere"}).faults
    assert fault.found == "$A_FILE names 'nowhere', which does not exist"
