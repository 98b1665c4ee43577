"""A Plotly figure that a notebook shows together with its words and numbers. Importing this imports Plotly."""

from IPython import get_ipython
from IPython.display import publish_display_data
from plotly.graph_objects import Figure

from scripts.interp.figures.words import words_and_numbers


class ShownFigure(Figure):
    """Under the figure, folded: what it shows and a table of its numbers, wherever the figure itself is shown.

    They are an output of their own, because JupyterLab draws a figure from its data and leaves other text aside.
    """

    def show(self, *args, **options) -> None:
        super().show(*args, **options)
        self._show_words()

    def _ipython_display_(self) -> None:  # the last line of a cell
        super()._ipython_display_()
        self._show_words()

    def _show_words(self) -> None:
        if get_ipython() is not None:
            publish_display_data({"text/html": words_and_numbers(self)})
