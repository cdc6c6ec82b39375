"""The panels of the pictures of curves, and the band of one: plain NumPy beside."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from experiments.distributed_momentum.figures import comparison, curves
from experiments.distributed_momentum.figures.panels import PAPERS, draw_band, panels
from experiments.distributed_momentum.grid.cells import cells, reference_of


def places(keys):
    """(row, column) of every panel, and those whose ticks are labelled at the side and below."""
    figure, found = panels(keys)
    figure.draw_without_rendering()
    grid = {key: axes.get_subplotspec() for key, axes in found.items()}
    side, below = (
        {key for key, axes in found.items() if getattr(axes, f"{a}axis").get_tick_params()[label]}
        for a, label in (("y", "labelleft"), ("x", "labelbottom"))
    )
    plt.close(figure)
    return {key: (at.rowspan.start, at.colspan.start) for key, at in grid.items()}, side, below


def test_an_f_of_other_rules_shares_the_row():
    keys = [("little", 11, "krum"), ("little", 5, "bulyan"), ("empire", 11, "krum")]
    found, side, below = places(keys)
    assert found == {keys[0]: (0, 0), keys[1]: (0, 1), keys[2]: (1, 0)}
    assert side == {keys[0], keys[2]}
    assert below == {keys[1], keys[2]}  # bulyan's column ends in the first row


def test_an_f_of_the_same_rule_has_a_row_of_its_own():
    keys = [("little", 5, "krum"), ("little", 5, "median"), ("little", 2, "median")]
    found, side, below = places(keys)
    assert found == {keys[0]: (0, 0), keys[1]: (0, 1), keys[2]: (1, 1)}
    assert side == {keys[0], keys[2]}  # where a row starts beside an empty place
    assert below == {keys[0], keys[2]}


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_band_is_mean_and_deviation_over_seeds(logarithmic):
    values = np.array([[1.0, 2.0, np.nan], [4.0, 8.0, 16.0]])  # seeds, steps
    steps = pd.DataFrame({"step": np.tile([0, 5, 10], 2), "seed": np.repeat([1, 2], 3)})
    figure, axes = plt.subplots()
    line = draw_band(axes, steps, pd.Series(values.ravel()), ("black", "-"), logarithmic)
    kept = np.log(values) if logarithmic else values
    mean = np.array([kept[:, 0].mean(), kept[:, 1].mean(), kept[1, 2]])
    deviation = np.array([kept[:, 0].std(ddof=1), kept[:, 1].std(ddof=1), 0.0])
    shown = np.exp if logarithmic else np.asarray
    np.testing.assert_allclose(line.get_ydata(), shown(mean))
    corners = axes.collections[0].get_paths()[0].vertices
    for step, low, high in zip(
        [0, 5, 10], shown(mean - deviation), shown(mean + deviation), strict=True
    ):
        edge = corners[corners[:, 0] == step, 1]
        np.testing.assert_allclose([edge.min(), edge.max()], [low, high])
    plt.close(figure)


def letters_of(figure):
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return {text.get_size() for text in texts}


def assert_apart(figure):
    """No panel, with its title and ticks, stands on another, on the legend or on a label."""
    panels = [axes for axes in figure.axes if axes.axison]
    boxes = [part.get_tightbbox() for part in (*panels, *figure.texts, *figure.legends)]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)


@pytest.mark.slower
@pytest.mark.parametrize("paper", ["column", "page"])
@pytest.mark.parametrize("rules", [["median"], ["median", "trmean", "krum"]])
def test_pictures_for_papers(paper, rules):
    """Of that width, in letters of 8 points, with nothing cut or covered and no empty panel."""
    chosen = cells("digits", rules=rules, f=[5], places=["update", "worker"])
    steps = pd.DataFrame(
        [(cell.name, 1, step, 0.1 * step) for cell in chosen for step in range(3)],
        columns=["name", "seed", "step", "accuracy"],
    ).assign(digest="d", diverged_step=np.nan)
    figure = comparison.plot_accuracy(steps, chosen, paper)
    width, beside, _ = PAPERS[paper]
    assert figure.get_figwidth() == width
    figure.draw_without_rendering()
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0 and drawn.x1 <= width
    assert drawn.y0 >= 0 and drawn.y1 <= figure.get_figheight()
    assert_apart(figure)
    assert letters_of(figure) == {8}
    assert sum(axes.axison for axes in figure.axes) == 2 * len(rules)  # two attacks
    columns = {axes.get_subplotspec().colspan.start for axes in figure.axes if axes.axison}
    assert len(columns) == min(len(rules), beside)
    assert figure.legends[0].get_title().get_text() == "one seed"
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert all(label.endswith("%") for label in labels)
    plt.close(figure)


@pytest.mark.parametrize("conventions", ["released", "published"])
def test_the_unattacked_run_of_another_number_of_workers_stands_beside_the_attacked(conventions):
    (cell,) = cells(
        "digits",
        rules=["krum"],
        attacks=["little"],
        places=["worker"],
        n=9,
        f=[2],
        steps=12,
        conventions=conventions,
    )
    both = [one.configuration(1) | {"name": one.name} for one in (cell, reference_of(cell))]
    (combination,) = curves.combinations(pd.DataFrame(both))
    assert combination.unattacked["n"].tolist() == [7]
    assert combination.attacked["n"].tolist() == [9]
