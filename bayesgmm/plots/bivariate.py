"""A page for teaching: the bivariate Gaussian, its five parameters as sliders."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from bayesgmm.data.writing import write_text
from bayesgmm.extras import need


def bivariate(path: str | os.PathLike[str]) -> Path:
    """Write a self-contained HTML page with the density of a bivariate Gaussian and a slider for each parameter.

    A covariance that makes the matrix no longer positive definite is refused on the page, which says why.

    Parameters
    ----------
    path : path
        Where to write; a file that is there is replaced.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    need("a page of bivariate Gaussians", "plots", "plotly")
    from plotly.offline import get_plotlyjs

    template = files("bayesgmm.plots").joinpath("bivariate.html").read_text(encoding="utf-8")
    return write_text(path, template.replace("/*plotly*/", get_plotlyjs()))
