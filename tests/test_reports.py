"""The report and the page for teaching: whole in one file, safe with hostile names, and alive in a browser."""

import csv
import html
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayesgmm as bg
from bayesgmm import plots
from bayesgmm.shell.commands import app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<script>alert("1")</script>', "=cmd()|' /C calc'!A0"


@pytest.fixture(scope="module")
def results():
    data = bg.datasets.load_faithful()
    point = bg.fit(data, 2, engine="em", seed=1)
    return point, bg.fit(data, 2, engine=bg.Gibbs(draws=500, tune=200), seed=1, progress=False)


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    point, posterior = results
    return bg.report(posterior, tmp_path_factory.mktemp("report") / "report.html", point=point)


@pytest.fixture
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--use-gl=swiftshader"])
        yield opened
        opened.close()


def opened(browser, path, width=1100):
    """A page with the list of what it complained of and asked for."""
    tab, said, asked = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True), [], []
    tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(f"file://{path}")
    tab.wait_for_function("document.querySelectorAll('.main-svg').length > 0")
    return tab, said, [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def text_of(page):
    """What the page says, without scripts and styles."""
    plain = re.sub(r"<(script|style)\b.*?</\1>", " ", page.read_text(), flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", " ", plain))


def test_report_is_one_file_of_at_most_8_megabytes(page):
    written = page.read_text()
    assert page.stat().st_size < 8e6
    assert not re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=", written)
    assert not re.findall(r'<link[^>]*href="http', written)
    assert written.count('lang="en"') == 1
    assert re.search(r"<title>[^<]+</title>", written)


def test_report_says_what_the_result_says(page, results):
    posterior = results[1]
    said = text_of(page)
    for name, row in posterior.summary().iterrows():
        assert str(name) in said
        assert f"{row['mean']:.4g}" in said
    assert "Diagnostics are good" in said
    assert f"seed={posterior.tree.attrs['seed']}" in said
    assert "Dempster" in said
    assert "EM beside the posterior" in said
    share = 100 * float(posterior.summary().loc["weight[0]", "mean"])
    assert f"Group 0 has {share:.3g}" in said


def test_memberships_in_the_report_are_those_of_the_result(page, results):
    posterior = results[1]
    found = posterior.memberships()
    cells = re.findall(r"<tr><td>(\d+)</td><td>(\d)</td><td>([\d.]+)</td>", page.read_text())
    assert len(cells) == 272
    for row, label, probability in cells:
        assert int(label) == int(found.label.sel(observation=int(row)))
        assert abs(float(probability) - float(found.probability.sel(observation=int(row), component=0))) < 6e-5


def test_code_in_the_report_makes_the_result_again(page, results):
    code = html.unescape(re.search(r"<pre>(.*?)</pre>", page.read_text(), re.S).group(1))
    names = {}
    exec(code.replace("data = ...", "data = bg.datasets.load_faithful()"), names)
    assert np.array_equal(names["result"].means.values, results[1].means.values)


@pytest.mark.filterwarnings("ignore:the best optimum was found by:bayesgmm.ConvergenceWarning")
@pytest.mark.parametrize("prior", ["flat", "written out"])
def test_code_in_the_report_knows_other_models(prior, tmp_path):
    data = bg.datasets.load_faithful()
    given = "flat" if prior == "flat" else bg.ConjugatePrior.from_data(data, 2, "tied", concentration=[1.0, 3.0])
    result = bg.fit(data, bg.MixtureModel(2, "tied", given), engine="em", seed=4)
    written = bg.report(result, tmp_path / "r.html").read_text()
    code = html.unescape(re.search(r"<pre>(.*?)</pre>", written, re.S).group(1))
    names = {}
    exec(code.replace("data = ...", "data = bg.datasets.load_faithful()"), names)
    assert np.array_equal(names["result"].means.values, result.means.values)


def test_a_point_and_a_doubtful_result_are_reported_as_what_they_are(results, tmp_path):
    assert "point estimate" in text_of(bg.report(results[0], tmp_path / "point.html"))
    with pytest.warns(bg.ConvergenceWarning):
        few = bg.fit(bg.datasets.load_iris().select_dtypes("number"), 3, engine=bg.Gibbs(draws=20, tune=20), seed=1)
    said = text_of(bg.report(few, tmp_path / "few.html"))
    assert "Do NOT trust these draws yet" in said
    assert "raise draws" in said


def test_hostile_names_are_text(tmp_path, rng):
    data = pd.DataFrame(rng.normal(size=(60, 2)) + 5 * rng.integers(2, size=(60, 1)), columns=list(HOSTILE))
    data.index = [f'{HOSTILE[0]}{i}"' for i in range(60)]
    result = bg.fit(data, 2, engine="em", seed=1)
    written = bg.report(result, tmp_path / "r.html", title=HOSTILE[0]).read_text()
    assert '<script>alert("1")' not in written
    assert "<script>alert(" not in written


def test_a_million_rows_are_sampled_and_the_page_says_so(tmp_path, rng):
    data = rng.normal(size=(1_000_000, 2)) + 5 * rng.integers(2, size=(1_000_000, 1))
    result = bg.fit(data, 2, engine=bg.EM(n_init=1), seed=1)
    written = bg.report(result, tmp_path / "r.html")
    assert written.stat().st_size < 8e6
    said = text_of(written)
    assert "1,000,000 rows" in said
    assert "a sample of 1,000 of 1,000,000 rows" in said


def test_report_lives_in_a_browser(page, browser):
    tab, said, asked = opened(browser, page)
    assert (said, asked) == ([], [])
    first = tab.locator("#rows tbody tr").first
    tab.locator("#rows th button").nth(2).click()
    rising = [float(t) for t in tab.locator("#rows tbody tr td:nth-child(3)").all_text_contents()]
    assert rising == sorted(rising)
    assert tab.locator("#rows th").nth(2).get_attribute("aria-sort") == "ascending"
    tab.locator("#filter").fill("27")
    shown = [row.text_content() for row in tab.locator("#rows tbody tr:not([hidden]) td:first-child").all()]
    assert shown
    assert all("27" in name for name in shown)
    tab.locator("#filter").fill("")
    with tab.expect_download() as waited:
        tab.locator("#download").click()
    rows = list(csv.reader(io.StringIO(waited.value.path().read_text())))
    assert len(rows) == 273
    assert rows[0][0] == "row"
    assert first is not None


@pytest.mark.parametrize("width", [390, 1100])
def test_report_needs_no_sideways_scrolling(page, browser, width):
    tab, _, _ = opened(browser, page, width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_formulas_leave_the_report_as_text(tmp_path, rng, browser):
    data = pd.DataFrame({"a": rng.normal(size=30)}, index=[f"{HOSTILE[1]}{i}" for i in range(30)])
    tab, said, _ = opened(browser, bg.report(bg.fit(data, 1, engine="em"), tmp_path / "r.html"))
    with tab.expect_download() as waited:
        tab.locator("#download").click()
    rows = list(csv.reader(io.StringIO(waited.value.path().read_text())))
    assert said == []
    assert all(row[0].startswith("'=cmd()") for row in rows[1:])


def test_sliders_move_the_bivariate_gaussian_and_refuse_what_is_none(tmp_path, browser):
    tab, said, asked = opened(browser, plots.bivariate(tmp_path / "bivariate.html"))
    assert (said, asked) == ([], [])
    heights = "Math.max(...document.getElementById('surface').data[0].z.flat())"
    before = tab.evaluate(heights)
    assert abs(before - 1 / (2 * np.pi * np.sqrt(2 - 0.64))) < 1e-3

    def move(name, value):
        tab.evaluate(
            "([name, value]) => { const slider = document.getElementById(name); slider.value = value;"
            "slider.dispatchEvent(new Event('input')); }",
            [name, value],
        )

    move("vx", "0.5")
    assert tab.evaluate(heights) > before
    move("c", "3")
    assert "not positive definite" in tab.locator("#said").text_content()
    move("c", "-0.5")
    assert "Correlation -0.50" in tab.locator("#said").text_content()


@pytest.mark.parametrize("name", ["figure.png", "figure.svg", "figure.html"])
def test_figures_are_drawn_from_the_command_line(name, results, tmp_path):
    results[1].save(tmp_path / "r.nc")
    done = CliRunner().invoke(app, ["plot", str(tmp_path / "r.nc"), "components", "-o", str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / name).stat().st_size > 5000


def test_reports_are_written_from_the_command_line(results, tmp_path):
    results[1].save(tmp_path / "r.nc")
    page, csv_file = tmp_path / "r.html", "bayesgmm/datasets/faithful.csv"
    assert CliRunner().invoke(app, ["report", str(tmp_path / "r.nc"), "-o", str(page)]).exit_code == 0
    again = CliRunner().invoke(app, ["report", str(tmp_path / "r.nc"), "-o", str(page)])
    assert again.exit_code == 2
    assert "exists" in again.output
    fitted = CliRunner().invoke(
        app, ["fit", csv_file, "-k", "2", "--engine", "em", "--seed", "1", "--report", str(tmp_path / "f.html")]
    )
    assert fitted.exit_code == 0, fitted.output
    assert (tmp_path / "f.html").exists()


def test_figures_that_cannot_be_are_refused_in_a_sentence(results, tmp_path):
    results[1].save(tmp_path / "r.nc")
    wrong = CliRunner().invoke(app, ["plot", str(tmp_path / "r.nc"), "density", "-o", str(tmp_path / "x.bmp")])
    assert wrong.exit_code == 2
    assert "has to end in .png, .svg, .pdf or .html" in wrong.output
    trace = CliRunner().invoke(app, ["plot", str(tmp_path / "r.nc"), "em_trace", "-o", str(tmp_path / "x.png")])
    assert "only a result of EM has iterations" in trace.output


def test_options_may_be_in_a_file(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        'data = "bayesgmm/datasets/faithful.csv"\ncomponents = 2\nengine = "em"\ncovariance-type = "tied"\nseed = 1\n'
    )
    done = CliRunner().invoke(app, ["fit", "--config", str(config)])
    assert done.exit_code == 0, done.output
    assert "2 tied Gaussian components" in done.output
    other = CliRunner().invoke(app, ["fit", "--config", str(config), "--components", "3"])
    assert "3 tied Gaussian components" in other.output
    config.write_text("componnts = 2\n")
    wrong = CliRunner().invoke(app, ["fit", "--config", str(config), "bayesgmm/datasets/faithful.csv"])
    assert wrong.exit_code == 2
    assert "componnts" in wrong.output


def test_demo_tells_the_story(tmp_path):
    done = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo.html")])
    assert done.exit_code == 0, done.output
    assert "premium and discount" in text_of(tmp_path / "demo.html")
