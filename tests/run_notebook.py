"""Executes a notebook's cells in order inside a running event loop, as a kernel does, and writes what they show.

    python -m tests.run_notebook NOTEBOOK PAGE

``PAGE`` becomes an HTML page with the code and what each cell gave; its last line on standard output is a JSON list of
the texts of all results. The first cell that fails ends it with its error.
"""

import ast
import asyncio
import html
import json
import sys
from pathlib import Path
from typing import Any

HEAD = '<!doctype html><meta charset="utf-8"><body style="max-width:70em;margin:2em auto;font-family:sans-serif">'


def cells_of(notebook: Path) -> list[dict[str, Any]]:
    document = json.loads(notebook.read_text(encoding="utf-8"))
    cells: list[dict[str, Any]] = document["cells"]
    return cells


async def execute(notebook: Path, page: Path) -> list[str]:
    """Run all code cells in one namespace; the value of a cell is that of its last expression, as in a kernel."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    parts, texts = [HEAD], []
    for number, cell in enumerate(cells_of(notebook)):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(f'<div style="white-space:pre-wrap;margin:1em 0">{html.escape(source)}</div>')
            continue
        assert asyncio.get_running_loop().is_running()
        value = _run(source, namespace, f"<cell {number}>")
        parts.append(f'<pre style="background:#eee;padding:.5em">{html.escape(source)}</pre>{_shown(value)}')
        texts += [] if value is None else [repr(value)]
        page.write_text("\n".join(parts), encoding="utf-8")
    return texts


def _run(source: str, namespace: dict[str, Any], name: str) -> Any:
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace)  # type: ignore[attr-defined]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    rich = getattr(value, "_repr_html_", None)
    return str(rich()) if rich else f"<pre>{html.escape(repr(value))}</pre>"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(execute(Path(sys.argv[1]), Path(sys.argv[2])))) + "\n")
