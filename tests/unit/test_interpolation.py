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
