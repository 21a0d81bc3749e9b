"""Values that a notebook computes, from its own statements and no others: what another tool shows is what readers have.

Of all statements of a notebook, those run that lead to the asked names. What they lead to is found from the names that
they bind, change and read, so a claim or a figure on the way costs nothing.
"""

import ast
import os
import symtable
from pathlib import Path
from unittest import mock

import nbformat
import torch

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"


def values(stem, *names, untrained=False):
    """The values that names have at the end of notebook `stem`, on storybook or on its untrained twin."""
    cells = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", 4).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code" and cell.id != "install"]
    statements = leading_to(names, [statement for source in sources for statement in ast.parse(source).body])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERP_")}
    environment |= {"INTERP_UNTRAINED": "1"} if untrained else {}
    namespace = {}
    with mock.patch.dict(os.environ, environment, clear=True), torch.no_grad():
        exec(compile(ast.Module(statements, type_ignores=[]), f"{stem}.ipynb", "exec"), namespace)
    return [namespace[name] for name in names]


def leading_to(names, statements):
    """The statements without which the names would have no value in the end, or another one.

    >>> statements = ast.parse("a = 1; b = 2; c = {}; c[0] = a; a = 3; print(c)").body
    >>> [ast.unparse(statement) for statement in leading_to(["c"], statements)]
    ['a = 1', 'c = {}', 'c[0] = a']
    """
    defined = {each.name: names_in(each)[2] for each in statements if isinstance(each, ast.FunctionDef)}
    needed, chosen = set(names), []
    for statement in reversed(statements):
        bound, changed, read = names_in(statement)
        if needed & (bound | changed):
            chosen.append(statement)
            needed = needed - bound | changed | read
            while more := set().union(*(defined.get(name, ()) for name in needed)) - needed:  # what a call will read
                needed |= more
    return chosen[::-1]


def names_in(statement):
    """Three sets of global names: those that a statement binds, those whose values it changes, those that it reads."""
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    bound = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    read, scopes = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}, [table]
    while scopes:  # functions and comprehensions, whose own names are no global ones
        inner = scopes.pop().get_children()
        read |= {symbol.get_name() for scope in inner for symbol in scope.get_symbols() if symbol.is_global()}
        scopes += inner
    nodes = list(ast.walk(statement))
    places = [node for node in nodes if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))]
    places = [node for node in places if isinstance(node, (ast.Attribute, ast.Subscript))]
    places += [node.target for node in nodes if isinstance(node, ast.AugAssign)]
    calls = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    places += [call.func for call in calls if isinstance(call.func, ast.Attribute)]  # y.append(1)
    given = [each for node in nodes if isinstance(node, ast.Call) for each in node.keywords]
    places += [each.value for each in given if each.arg == "generator"]  # who draws changes what the next one draws
    changed = {root(place) for place in places} - {""}
    if isinstance(statement, (ast.If, ast.For, ast.While, ast.Try)):  # may leave what was there
        changed |= bound
    if isinstance(statement, ast.For):  # its own variables have their values from itself
        own = {node.id for node in ast.walk(statement.target) if isinstance(node, ast.Name)}
        read, changed = read - own | names_in(ast.Expr(statement.iter))[2], changed - own
    return bound - changed, changed, read


def root(place):
    """The name at the beginning of `name.part[key]`; "" where there is none."""
    while isinstance(place, (ast.Attribute, ast.Subscript)):
        place = place.value
    return place.id if isinstance(place, ast.Name) else ""
