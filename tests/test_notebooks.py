"""Hygiene of every notebook, and its claims on the untrained twin. (nbval compares the outputs.)"""

import ast
import random
import re
from collections import Counter
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from claims import LEDGER, TWIN, ledger, records, stale, stated, stored
from editions import exercises
from execution import execute, measure
from notebook_values import root

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
LINES, LONG, DECIMALS = 8, 15, 3  # LONG: set-up and answers
# A number in prose that someone could take for a result: 0.98, 37 %, head 4.3.
RESULT = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)|(?<![\w.])\d+(?= ?%)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    read = nbformat.read(request.param, 4)
    read.path = request.param
    return read


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(output):
    """All text of an output, its HTML included."""
    yield from [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    yield output.get("text", "")


def printed(cells):
    return "\n".join(text for cell in cells for output in cell.get("outputs", []) for text in texts(output))


def test_it_is_valid_and_was_executed_from_top_to_bottom(notebook):
    nbformat.validate(nbformat.from_dict({key: notebook[key] for key in notebook if key != "path"}))
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))


def test_its_outputs_hold_no_error_warning_or_path(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", "".join(texts(output))
            for text in texts(output):
                assert not re.search(r"Warning|(?<![\w<])/(home|root|tmp|Users)/", text), text


def test_its_last_cell_leads_to_all_notebooks(notebook):
    """It does where it was executed beside them, and loses these links where a copy was executed elsewhere."""
    (output,) = code(notebook)[-1].outputs
    assert re.findall(r'href="(\w+\.ipynb)"', output["data"]["text/html"]) == [path.name for path in NOTEBOOKS]


def test_it_prints_three_decimals_at_most(notebook):
    found = re.findall(r"\d\.\d+", printed(code(notebook)))
    assert [number for number in found if len(number.partition(".")[2]) > DECIMALS] == []


def test_its_cells_are_short_and_show_their_figures(notebook):
    install, setup, *others = code(notebook)  # the first one is for Colab; test_address.py looks at it
    assert install.id == "install"
    for cell in code(notebook)[1:]:
        limit = LONG if cell is setup or "BEGIN SOLUTION" in cell.source else LINES
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= limit, cell.source
        assert "import *" not in cell.source
        assert "filterwarnings" not in cell.source
        if "plt.subplots" in cell.source:
            assert lines[-1] == "plt.show()", cell.source
    assert not any("import " in cell.source for cell in others), "imports stand in the set-up cell"


def test_its_markdown_is_prose_between_sips_of_code(notebook):
    for before, cell in zip(notebook.cells, notebook.cells[1:]):
        if before.id == "install":
            continue
        if cell.cell_type == before.cell_type == "code":  # two cells in a row: the second is a claim or a printout
            assert re.search(
                r"claim\(|^if |\.round\(|pd\.DataFrame|exercises\.check\(|evidence\.keep\(", cell.source
            ), cell.source


def test_every_figure_has_a_caption_and_an_alt_text(notebook):
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None]):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert re.match(r"\*Figure: .+?\*(\n\n|$)", following.source, re.S), cell.source
                assert cell.metadata["alt"], cell.source
                assert output.metadata["image/png"]["alt"] == cell.metadata["alt"], "run `make notebooks`"


SCOPES = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
CHANGING = {"add", "append", "clear", "extend", "insert", "pop", "remove", "setdefault", "sort", "update"}


class Names(ast.NodeVisitor):
    """Names that a cell binds, those that it takes from other cells, and those of theirs whose values it changes."""

    def __init__(self, source):
        self.bound, self.taken, self.changed = set(), set(), set()
        self.visit(ast.parse(source))

    def generic_visit(self, node):  # in the order in which it runs: first the value, then the name that it gets
        value = getattr(node, "value", None) or getattr(node, "iter", None)
        for child in sorted(ast.iter_child_nodes(node), key=lambda child: child is not value):
            self.visit(child)

    def visit(self, node):
        if isinstance(node, SCOPES):
            self.visit_scope(node)
        else:
            super().visit(node)

    def visit_scope(self, node):  # its own names are no names of the cell
        inside = list(ast.walk(node))
        own = {each.id for each in inside if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load)}
        own |= {each.arg for each in inside if isinstance(each, ast.arg)}
        read = {each.id for each in inside if isinstance(each, ast.Name)} - own
        # Other cells may call a function, which then reads what its names mean by then. The rest is over with the cell.
        self.taken |= read if isinstance(node, ast.FunctionDef) else read - self.bound
        if hasattr(node, "args"):
            self.visit(node.args)  # defaults are values of the cell
        if hasattr(node, "name"):
            self.bound.add(node.name)

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load):
            self.taken |= {node.id} - self.bound
        else:
            self.bound.add(node.id)

    def visit_alias(self, node):
        self.bound.add((node.asname or node.name).partition(".")[0])

    def change(self, place):
        self.changed |= {root(place)} - self.bound - {""}

    def visit_AugAssign(self, node):
        self.change(node.target)
        self.taken |= self.changed
        self.generic_visit(node)

    def visit_Attribute(self, node):
        if not isinstance(node.ctx, ast.Load):
            self.change(node)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute  # noqa: N815

    def visit_Call(self, node):
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
            self.change(node.func)
        self.generic_visit(node)

    def visit_keyword(self, node):
        if node.arg == "generator":  # whoever draws from it changes it
            self.change(node.value)
        self.generic_visit(node)


@pytest.mark.parametrize(
    ("source", "bound", "taken", "changed"),
    [
        ("a = 1; b = a", "a b", "", ""),
        ("a = f(a)", "a", "f a", ""),
        ("a += 1", "a", "a", "a"),
        ("a = []; a.append(b); a[0] = c; a += d", "a", "b c d", ""),
        ("a.append(b); c[0].d = e; f.g(h)", "", "a b c e f h", "a c"),
        ("del a, b[0]", "a", "b", "b"),
        ("for a, *b in a: c = b", "a b c", "a", ""),
        ("with a as b: print(b)", "b", "a print", ""),
        ("import a.b, c as d; from e import f", "a d f", "", ""),
        ("def f(a, b=c): d = a + e; return [g for g in d]", "f", "c e", ""),
        ("def f(made=made): return made", "f", "made", ""),
        ("a = b = 1; c = [a for d in e]; g = max(c, key=lambda f: b)", "a b c g", "e max", ""),
        ("a = 1\ndef f(): return a", "a f", "a", ""),
        ("a = [b + c for b in d]; e = lambda f: f + g", "a e", "c d g", ""),
        ("if (a := b) > 1: print(a)", "a", "b print", ""),
        ("a = rand(5, generator=b); c = rand(5, generator=seeded(0)); d = rand(generator=e.clone())", "a c d",
         "rand b seeded e", "b"),
    ],
)  # fmt: skip
def test_what_a_cell_binds_takes_and_changes(source, bound, taken, changed):
    names = Names(source)
    assert (names.bound, names.taken, names.changed) == tuple(set(words.split()) for words in (bound, taken, changed))


def test_any_cell_of_it_may_be_run_again(notebook):
    """Readers go back, change a number and run a cell again, and it should do what it did.

    So a name that a cell takes from another one is bound in one cell only, and no cell changes what another has made.
    A name that every cell binds before it reads it, such as `fig`, may come again.
    """
    cells = {cell.id: Names(cell.source) for cell in code(notebook)[1:]}
    times = Counter(name for cell in cells.values() for name in cell.bound)
    taken = set().union(*(cell.taken for cell in cells.values()))
    assert {name for name in taken if times[name] > 1} == set(), "this name means two things"
    assert {place: cell.changed & {*times} for place, cell in cells.items() if cell.changed & {*times}} == {}


@pytest.mark.again
def test_every_cell_of_it_run_again_shows_the_same(notebook, tmp_path):
    """What the test above cannot see: models that train on, and what functions change. In an order drawn at random."""
    again = deepcopy(code(notebook)[2:-2])  # set-up forgets the claims, and the last two cells list them
    random.Random(0).shuffle(again)
    for cell in again:
        cell.id = f"again-{cell.id}"
    notebook.cells += again
    notebook.pop("path")
    nbformat.write(notebook, tmp_path / "again.ipynb")
    executed, _, _ = execute(tmp_path / "again.ipynb", allow_errors=True)
    shown = {cell.id: printed([cell]) for cell in executed.cells}
    assert {cell.id: shown[cell.id] for cell in again if shown[cell.id] != shown[cell.id.removeprefix("again-")]} == {}


def test_one_figure_of_it_is_its_cover(notebook):
    covers = [cell for cell in code(notebook) if "cover" in cell.metadata.get("tags", [])]
    assert len(covers) == 1
    assert any("image/png" in output.get("data", {}) for output in covers[0].outputs)


def test_its_prose_quotes_no_number_that_no_cell_above_printed(notebook):
    for index, cell in enumerate(notebook.cells):
        said = cell.source if cell.cell_type == "markdown" else cell.metadata.get("alt")
        if said:
            prose = re.sub(r"(?m)^#+ .*$|`[^`]*`|\$[^$]*\$", "", said)
            above = notebook.cells[: index + (cell.cell_type == "code")]
            shown = printed(above) + "\n".join(each.source for each in above if each.cell_type == "code")
            for number in RESULT.findall(prose):
                assert re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", shown), f"{number} in: {said}"


def test_its_claims_are_named_after_it_and_held_when_stored(notebook):
    names = list(stated(notebook))
    assert names
    assert all(name.startswith(notebook.path.name[:2] + ".") for name in names)
    assert [(mark, name) for mark, name, _, _ in stored(notebook)] == [("✓", name) for name in names]
    assert [cell.source for cell in code(notebook)[-2:]] == ["claim.table()", "exercises.progress()"]


@pytest.mark.deep
def test_on_the_untrained_twin_what_was_learned_is_gone(notebook):
    """A claim marked as learned that holds on the twin was not learned; one that is not must hold there too.

    This run is the student edition's, so that it also shows that with all exercises blank a notebook runs to its end.
    """
    record, blank, problem = measure(ROOT / "notebooks" / "student" / notebook.path.name, {"INTERP_UNTRAINED": "1"})
    assert problem is None
    said = re.findall(r"(?m)^. \d[a-l] .+$", printed(code(blank)))
    assert said == [f"○ {name} not attempted" for name in exercises(notebook)]
    assert {name: each["mark"] for name, each in record["claims"].items()} == {
        name: "✗" if learned else "✓" for name, learned in stated(notebook).items()
    }
    kept, digest = records()[TWIN][notebook.path.stem]["claims"], notebook.metadata["stored_with"]["arithmetic"]
    assert stale(kept, record["claims"], digest) == [], "run `make claims`"


def test_the_page_of_claims_says_what_notebooks_and_records_say():
    """Every column: a claim that a notebook has lost or gained since a model was run shows here."""
    assert LEDGER.read_text(encoding="utf-8") == ledger(NOTEBOOKS), "docs/claims.md is stale: run `make claims`"
    for name, of in records().items():
        assert list(of) == [path.stem for path in NOTEBOOKS], name
        for path in NOTEBOOKS:
            if not of[path.stem]["stopped"]:
                assert list(of[path.stem]["claims"]) == list(stated(nbformat.read(path, 4))), (name, path.stem)
