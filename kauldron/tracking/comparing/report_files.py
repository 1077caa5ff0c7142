"""A report as files: Markdown, HTML in one file, JSON, and PNG pictures."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Iterable, Sequence

from etils import epath

from kauldron._base import shared_files, strict_json
from kauldron.tracking.comparing import (
    documents,
    figures,
    report,
    report_contents,
    run_source,
    runs_report,
)

FORMATS = ("md", "html", "json")
_FIGURES = "figures"

_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--text:#1f2937;--soft:#6b7280;--line:#e5e7eb;--card:#f9fafb}
@media(prefers-color-scheme:dark){:root{--bg:#0f1419;--text:#d1d5db;--soft:#9ca3af;--line:#2b3440;--card:#161d26}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1080px;padding:24px 16px 64px;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.2rem 0 .8rem}
.soft{color:var(--soft)}
.facts{display:flex;flex-wrap:wrap;gap:8px;margin:16px 0 0;padding:0;list-style:none}
.facts li{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:6px 12px}
.facts b{display:block;font-size:1.15rem}
.figures{display:flex;flex-wrap:wrap;gap:16px}
.figures figure{margin:0;padding:8px;background:var(--card);border:1px solid var(--line);border-radius:8px;max-width:100%}
.figures img{display:block;max-width:100%;height:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500}
td.number,th.number{text-align:right}
"""


def write_report(
    made: report.Report | runs_report.RunsReport,
    folder: str,
    *,
    formats: Sequence[str] = FORMATS,
) -> list[str]:
    """Writes a report; returns the paths of its files, without those of pictures.

    Args:
      made: The report, of one run or of several.
      folder: Where `report.md`, `report.html`, `report.json` and `figures/` go.
      formats: Which of them.

    Raises:
      ComparingError: If a format does not exist, or the folder is a file.
    """
    for name in formats:
        if name not in FORMATS:
            raise run_source.ComparingError(
                f"A report has the formats {', '.join(FORMATS)}: got {name!r}."
            )
    root = epath.Path(folder)
    if root.exists() and not root.is_dir():
        raise run_source.ComparingError(
            f"{folder!r} is a file: a report needs a folder."
        )
    document = (
        report_contents.document_of(made)
        if isinstance(made, report.Report)
        else runs_report.document_of(made)
    )
    root.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    if "md" in formats:
        _write_pictures(document, root / _FIGURES)
        files["report.md"] = to_markdown(document)
    if "html" in formats:
        files["report.html"] = to_html(document)
    if "json" in formats:
        files["report.json"] = (
            json.dumps(strict_json.finite(dict(document.values)), indent=2) + "\n"
        )
    for name, text in files.items():
        shared_files.write_atomically(root / name, text)
    return [os.fspath(root / name) for name in files]


def to_markdown(document: documents.Document) -> str:
    """Returns a report as Markdown; its pictures are in `figures/`."""
    lines = [f"# {document.title}", "", document.subtitle, ""]
    if document.message:
        lines += [f"> {document.message}", ""]
    if document.facts:
        lines += _markdown_table(("", ""), document.facts)
    for section in ("Curves", "Predictions"):
        shown = [f for f in document.figures if f.section == section]
        if shown:
            lines += [f"## {section}", ""]
            lines += [f"![{f.alt}]({_FIGURES}/{f.name}.png)\n" for f in shown]
    for title, header, rows in document.tables:
        lines += [f"## {title}", "", *_markdown_table(header, rows)]
    return "\n".join(lines).rstrip() + "\n"


def to_html(document: documents.Document) -> str:
    """Returns a report as one HTML file, for light and for dark screens."""
    esc = html.escape
    facts = "".join(
        f"<li><span class=soft>{esc(name)}</span><b>{esc(value)}</b></li>"
        for name, value in document.facts
    )
    parts = [
        f"<h1>{esc(document.title)}</h1><div class=soft>{esc(document.subtitle)}</div>",
        f"<p>{esc(document.message)}</p>" if document.message else "",
        f"<ul class=facts>{facts}</ul>",
    ]
    for section in ("Curves", "Predictions"):
        shown = [f for f in document.figures if f.section == section]
        if shown:
            pictures = "".join(f"<figure>{_picture(f)}</figure>" for f in shown)
            parts.append(f"<h2>{section}</h2><div class=figures>{pictures}</div>")
    for title, header, rows in document.tables:
        parts.append(f"<h2>{title}</h2><div class=scroll>{_table(header, rows)}</div>")
    body = "\n".join(parts)
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{esc(document.title)}</title><style>{_STYLE}</style>\n{body}\n</html>\n"
    )


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return [*(f"| {' | '.join(line)} |" for line in cells), ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    classes = [
        "class=number" if i and len(header) > 2 and all(map(_is_number, column)) else ""
        for i, column in enumerate(zip(*rows, strict=True))
    ] or [""] * len(header)

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag} {kind}>{html.escape(str(cell))}</{tag}>"
            for cell, kind in zip(cells, classes, strict=True)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{line(header, 'th')}</tr>{body}</table>"


def _is_number(cell: str) -> bool:
    return cell[:1] in "+-.0123456789"  # of nothing, too


def _picture(figure: documents.ReportFigure) -> str:
    light, dark = (
        base64.b64encode(figures.to_png(figure.draw(theme), theme)).decode()
        for theme in (figures.LIGHT, figures.DARK)
    )
    return (
        "<picture><source media='(prefers-color-scheme:dark)' "
        f"srcset='data:image/png;base64,{dark} 2x'>"
        f"<img alt='{html.escape(figure.alt)}' srcset='data:image/png;base64,{light} 2x'>"
        "</picture>"
    )


def _write_pictures(document: documents.Document, folder: epath.Path) -> None:
    folder.mkdir(exist_ok=True)
    for figure in document.figures:
        content = figures.to_png(figure.draw(figures.PAPER), figures.PAPER)
        (folder / f"{figure.name}.png").write_bytes(content)
