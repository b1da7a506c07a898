"""The interactive charts, made with Bokeh, as JSON that its script draws in the page.

Text of the run goes into marks and into tooltips, which Bokeh escapes; titles and labels of axes, in which it would
look for formulas, have this module's words alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure

    from .space import Map

NEW, ENGLISH, GREY, INK = "#b4451f", "#2f5d8a", "#8a8f98", "#3b4048"

#: by provenance, in the order in which bars are stacked
PROVENANCE = {
    "bitext": "#2f5d8a", "lexicon": "#4f8f7b", "vectors": "#8e7cc3", "overlap": "#d0a13a", "composition": "#c98a5a",
    "backoff": "#a9746e", "special": "#b9bec6", "fallback": "#b3282d",
}  # fmt: skip

#: by state of the model
STATES = {"untouched": GREY, "grafted": ENGLISH, "trained": NEW}

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

#: points of a curve are thinned out to about so many
_POINTS = 400

_LINES = (NEW, ENGLISH, "#4f8f7b", "#8e7cc3", "#d0a13a", "#7a4b2a", "#5f7d95", "#a33f6b")


def script() -> str:
    """Bokeh's own JavaScript, as the installed package has it, licence included."""
    import bokeh

    path = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    # as a browser reads it, for the hash that the page's policy has of it
    return path.read_text(encoding="utf-8").replace("\r\n", "\n").replace("</script", "<\\/script")


def item(chart: Figure, place: str) -> dict[str, Any]:
    """A chart as JSON, to be drawn in the element of this id."""
    from bokeh.embed import json_item

    made: dict[str, Any] = dict(json_item(chart, place))
    return made


def _figure(height: int, **options: Any) -> Figure:
    from bokeh.plotting import figure

    tools = options.pop("tools", "")
    chart = figure(
        height=height, sizing_mode="stretch_width", min_width=240, tools=tools, toolbar_location=None,
        output_backend="canvas", **options,
    )  # fmt: skip
    chart.background_fill_color = chart.border_fill_color = "#ffffff"
    chart.outline_line_color = None
    chart.grid.grid_line_color = "#e6e8eb"
    for axis in chart.axis:
        axis.axis_line_color = axis.major_tick_line_color = "#c4c9d0"
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = INK
        axis.major_label_text_font = axis.axis_label_text_font = _FONT
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
    return chart


def _legend_below(chart: Figure) -> None:
    """Moves the legend out of the picture, so that it hides nothing on a phone."""
    legend = chart.legend[0]
    chart.add_layout(legend, "below")
    legend.orientation = "horizontal"
    legend.nrows = "auto"
    legend.ncols = 3
    legend.border_line_color = None
    legend.background_fill_alpha = 0
    legend.padding = legend.margin = 2
    legend.label_text_font = _FONT
    legend.label_text_font_size = "12px"
    legend.label_text_color = INK
    legend.glyph_width = legend.glyph_height = 14


def provenance_chart(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Stacked bars, one for each kind of share: of the vocabulary, of the running text."""
    from bokeh.models import HoverTool

    names = list(shares)[::-1]
    chart = _figure(90 + 44 * len(names), y_range=names, x_range=(0, 100))
    left = dict.fromkeys(names, 0.0)
    for kind, colour in PROVENANCE.items():
        values = [100 * shares[name].get(kind, 0.0) for name in names]
        if not any(values):
            continue
        data = {
            "y": names, "left": [left[name] for name in names],
            "right": [left[name] + value for name, value in zip(names, values, strict=True)],
            "share": values, "kind": [kind] * len(names),
        }  # fmt: skip
        chart.hbar(y="y", left="left", right="right", height=0.6, color=colour, legend_label=kind, source=_source(data))
        for name, value in zip(names, values, strict=True):
            left[name] += value
    chart.add_tools(HoverTool(tooltips=[("", "@y"), ("rows from", "@kind"), ("share", "@share{0.0} %")]))
    chart.ygrid.grid_line_color = None
    chart.xaxis.axis_label = "%"
    _legend_below(chart)
    return chart


def map_chart(found: Map) -> Figure:
    """The plane of both vocabularies: wheel, pinch and drag move it, tokens are named under the pointer."""
    from bokeh.core.properties import value
    from bokeh.models import HoverTool, WheelZoomTool

    chart = _figure(520, tools="pan,reset")
    chart.axis.visible = False
    chart.toolbar_location = "above"
    zoom = WheelZoomTool()
    chart.add_tools(zoom)
    # a page that scrolls must not be caught in its picture: moving it has to be chosen first
    chart.toolbar.active_drag = None
    chart.toolbar.active_scroll = None
    chart.toolbar.logo = None
    english = [found.source_texts[place] for place in found.links]
    source = chart.scatter(
        "x", "y", size=6, color=ENGLISH, alpha=0.35, line_color=None, legend_label="English",
        source=_source({**_xy(found.source), "token": found.source_texts}),
    )  # fmt: skip
    target = chart.scatter(
        "x", "y", size=8, marker="diamond", color=NEW, alpha=0.6, line_color=None, legend_label="new language",
        source=_source({**_xy(found.target), "token": found.target_texts, "english": english}),
    )  # fmt: skip
    chosen = found.labelled
    labels = {**_xy(found.target[chosen]), "text": [f"{found.target_texts[k]} · {english[k]}" for k in chosen]}
    chart.text(
        "x", "y", "text", text_font_size="11px", text_color=INK, text_font=value(_FONT),
        text_align="center", y_offset=-7,
        background_fill_color="#ffffff", background_fill_alpha=0.78, border_radius=2, padding=1,
        source=_source(labels),
    )  # fmt: skip
    chart.add_tools(
        HoverTool(renderers=[target], tooltips=[("token", "@token"), ("most probable", "@english")]),
        HoverTool(renderers=[source], tooltips=[("English token", "@token")]),
    )
    chart.x_range.range_padding = chart.y_range.range_padding = 0.12
    _legend_below(chart)
    return chart


def curves_chart(entries: Sequence[Mapping[str, Any]], names: Mapping[str, str], label: str) -> Figure | None:
    """Lines over the steps of training. names: of keys of the entries, as people are to read them."""
    from bokeh.models import HoverTool, NumeralTickFormatter, PrintfTickFormatter

    found = {key: [(e["step"], e[key]) for e in entries if _number(e.get(key))] for key in names}
    found = {key: _thinned(points) for key, points in found.items() if len(points) > 1}
    if not found:
        return None
    chart = _figure(260)
    for number, (key, points) in enumerate(found.items()):
        colour = _LINES[number % len(_LINES)]
        data = {"x": [p[0] for p in points], "y": [p[1] for p in points], "name": [names[key]] * len(points)}
        source = _source(data)
        chart.line("x", "y", line_width=2, color=colour, legend_label=names[key], source=source)
        dots = chart.scatter("x", "y", size=5 if len(points) < 60 else 2, color=colour, source=source)
        chart.add_tools(HoverTool(renderers=[dots], tooltips=[("", "@name"), ("step", "@x{0,0}"), ("", "@y{0.0000}")]))
    chart.xaxis.axis_label = "step"
    chart.yaxis.axis_label = label
    chart.xaxis.formatter = NumeralTickFormatter(format="0,0")
    if all(abs(y) < 0.01 for points in found.values() for _, y in points):
        chart.yaxis.formatter = PrintfTickFormatter(format="%.1e")
    _legend_below(chart)
    return chart


def scores_chart(groups: Mapping[str, Mapping[str, tuple[float, float, float]]], label: str, zero: bool) -> Figure:
    """Bars by what is measured and by state of the model, with their 95 % intervals: (value, low, high)."""
    from bokeh.models import FactorRange, HoverTool, Whisker

    factors = [(what, state) for what, states in groups.items() for state in states]
    values = [groups[what][state] for what, state in factors]
    highest = max(high for _, _, high in values)
    chart = _figure(280, x_range=FactorRange(*factors), y_range=(0, highest * 1.08 if zero else 100))
    data = {
        "x": factors, "value": [v[0] for v in values], "low": [v[1] for v in values], "high": [v[2] for v in values],
        "what": [what for what, _ in factors], "state": [state for _, state in factors],
        "colour": [STATES.get(state, GREY) for _, state in factors],
    }  # fmt: skip
    source = _source(data)
    chart.vbar(x="x", top="value", width=0.8, color="colour", source=source)
    if any(low < high for _, low, high in values):
        whisker = Whisker(base="x", lower="low", upper="high", source=source, line_color=INK)
        for head in (whisker.upper_head, whisker.lower_head):
            head.size = 8
            head.line_color = INK
        chart.add_layout(whisker)
    form = "0.000" if zero else "0.0"
    chart.add_tools(
        HoverTool(
            tooltips=[
                ("", "@what, @state"),
                (label, f"@value{{{form}}}"),
                ("95 %", f"@low{{{form}}} – @high{{{form}}}"),
            ]
        )
    )
    chart.xgrid.grid_line_color = None
    chart.yaxis.axis_label = label
    chart.xaxis.major_label_orientation = 0.6
    chart.xaxis.separator_line_color = None
    chart.xaxis.group_text_font = _FONT
    chart.xaxis.group_text_color = INK
    chart.xaxis.group_text_font_size = "12px"
    return chart


def _source(data: Mapping[str, Any]) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({name: list(values) for name, values in data.items()})


def _xy(points: Any) -> dict[str, list[float]]:
    return {name: [round(float(value), 4) for value in points[:, axis]] for axis, name in enumerate("xy")}


def _number(value: Any) -> bool:
    """Whether something is a number that can be drawn: a diverged loss is none."""
    return isinstance(value, int | float) and abs(value) < 1e30


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, len(points) // _POINTS)
    return [*points[:-1:step], points[-1]]
