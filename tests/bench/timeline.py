#!/usr/bin/env python3
"""Draws the spans of traces as a timeline: `timeline.py OUT.svg TRACE...`, a trace (DURE_TRACE) for each rank.

Rows are spans' categories, `compute` above `collectives`; a span of category `pass` is a panel of its own, and its name
the panel's title. Times begin with the pass.
"""
import json
import sys
from xml.sax.saxutils import escape

WIDTH, LEFT, ROW, GAP = 960, 150, 26, 10
COLOURS = {"compute": "#4c78a8", "collectives": "#f58518"}


def read_spans(path):
    with open(path, encoding="utf-8") as file:
        text = file.read().rstrip()
    events = json.loads(text if text.endswith("]") else text + "]")  # of a run that was ended
    return [event for event in events if event.get("ph") == "X"]


def rows_of(spans, window):
    for category in COLOURS:
        inside = [span for span in spans
                  if span["cat"] == category and window[0] <= span["ts"] and span["ts"] + span["dur"] <= window[1] + 5000]
        yield category, inside


def main():
    out, traces = sys.argv[1], [read_spans(path) for path in sys.argv[2:]]
    titles = [span["name"] for span in traces[0] if span["cat"] == "pass"]
    longest = max(span["dur"] for trace in traces for span in trace if span["cat"] == "pass")
    scale = (WIDTH - LEFT - 20) / longest
    shapes, y = [], 20
    for number, title in enumerate(titles):
        shapes.append(f'<text x="10" y="{y + 4}" font-weight="bold">{escape(title)}</text>')
        y += 14
        for rank, trace in enumerate(traces):
            whole = [span for span in trace if span["cat"] == "pass"][number]
            begin = whole["ts"]
            for category, spans in rows_of(trace, (begin, begin + whole["dur"])):
                shapes.append(f'<text x="10" y="{y + 17}">rank {rank}, {category}</text>')
                for span in spans:
                    x, width = LEFT + (span["ts"] - begin) * scale, max(span["dur"] * scale - 0.5, 0.5)
                    shapes.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 4}" '
                                  f'fill="{COLOURS[category]}"><title>{escape(span["name"])}: '
                                  f'{span["dur"] / 1e3:.1f} ms</title></rect>')
                y += ROW
        y += 2 * GAP
    step = 10 ** (len(str(int(longest / 1e3))) - 1) or 1
    for i in range(int(longest / 1e3 / step) + 1):
        x = LEFT + i * step * 1e3 * scale
        shapes.append(f'<line x1="{x:.1f}" y1="10" x2="{x:.1f}" y2="{y}" stroke="#ccc" stroke-width="0.5"/>'
                      f'<text x="{x:.1f}" y="{y + 14}" text-anchor="middle" fill="#666">{i * step} ms</text>')
    with open(out, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 24}" font-family="sans-serif" '
                   f'font-size="12"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n")


main()
