"""Curves as text: nothing that matters is lost on the way to a few characters."""

from __future__ import annotations

from rich.cells import cell_len

from edgelm.charts.braille import Series, braille_chart, decimate


def test_decimation_keeps_the_peaks() -> None:
    points = [(float(n), 100.0 if n == 777 else 0.0) for n in range(10_000)]
    kept = decimate(points, 50)
    assert len(kept) <= 50
    assert (777.0, 100.0) in kept


def test_a_picture_is_never_wider_or_higher_than_asked_for() -> None:
    series = [Series("漢字" * 20, [(1.0, 2.0), (9.0, 3.0)], "red"), Series("b", [(4.0, 1.0)], "blue", "◆")]
    for width, height in ((14, 4), (40, 9), (120, 30)):
        lines = ["".join(text for text, _ in line) for line in braille_chart(series, width, height)]
        assert len(lines) == height
        assert max(map(cell_len, lines)) <= width


def test_without_points_or_room_there_is_a_word() -> None:
    for series in ([], [Series("a", [], "red")], [Series("a", [(1.0, 1.0)], "red")]):
        assert braille_chart(series, 12, 3, muted="grey") == [[("nothing to draw yet", "grey")]]
