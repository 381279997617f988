"""The row of large figures at the top of a flow's dashboard and of the step detail: rates, budget, observations."""

from __future__ import annotations

from collections.abc import Sequence

from .frame import Wording
from .palette import BAD, FAIR, GOOD, LINES
from .panels import Column, Header, PanelBuilder, figures, sql

__all__ = ["key_figures"]


def key_figures(words: Wording, header: Header, asked: str, objectives: Sequence[float] = ()) -> PanelBuilder:
    """Good-answer rate, timeliness, accuracy, budget left and observations of the steps that ``asked`` has.

    ``objectives`` are those of the three rates, which get their colours from them; without, colours say nothing.
    """
    names = [
        words.text("Good answers"),
        words.text("Timeliness"),
        words.text("Accuracy"),
        words.text("Budget left"),
        words.text("Observations"),
    ]
    statement = (
        f'SELECT sum(good) / nullif(sum(observations), 0) AS "{names[0]}", sum(good) / nullif(sum(accurate), 0) AS "{names[1]}", '
        f'sum(accurate) / nullif(sum(returned), 0) AS "{names[2]}", '
        f'1 - sum(observations - good) / nullif(sum(observations * (1 - objective)), 0) AS "{names[3]}", '
        f'sum(observations) AS "{names[4]}" FROM ({asked}) AS asked'
    )
    plain = ((None, LINES[0]),)
    columns = {name: Column("percentunit", 2, steps=plain) for name in names[:3]}
    for name, objective in zip(names, objectives, strict=False):
        columns[name] = Column(
            "percentunit", 2, steps=((None, BAD), (1 - 2 * (1 - objective), FAIR), (objective, GOOD))
        )
    columns[names[3]] = Column("percentunit", 1, steps=((None, BAD), (0, FAIR), (0.25, GOOD)))
    columns[names[4]] = Column("short", steps=plain)
    return figures(header, [sql(statement)], "percentunit", words.no_data(), columns=columns)
