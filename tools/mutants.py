"""Mutation tests of interp_helpers: does a test fail when one operator, number or branch of the code is another?

python tools/mutants.py [--survivors] [MODULE ...]    run what was not run yet, then write docs/mutants.md

This process imports torch and the other packages, and forks for every mutant, which stands in a copy of the repository
under build/. There the tests that enter its function run, the fastest first, until one fails. Results are kept until
the module changes; --survivors runs those again that no test killed. Reasons are read from docs/mutants.md and kept.
"""

import argparse
import contextlib
import gc
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
os.environ |= {"PYTHONDONTWRITEBYTECODE": "1"}
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

ROOT = Path(__file__).resolve().parent.parent
WORK, LEDGER = ROOT / "build" / "mutants", ROOT / "docs" / "mutants.md"
TREE, MODELS = WORK / "tree", WORK / "models"
OPERATORS = re.compile(
    r"\w+BinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul|BitOr_BitAnd|BitAnd_BitOr)"
    r"|\w+ComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_(LtE|GtE)|LtE_(Lt|Gt)|Gt_(GtE|LtE)|GtE_(Gt|Lt)|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_Delete_\w+|Replace(True|False|And|Or|Break|Continue)With\w+|AddNot|NumberReplacer"
    r"|ExceptionReplacer|RemoveDecorator|ZeroIterationForLoop"
)
TESTS = {  # of a module, beside test_MODULE.py
    "__init__": ["package"],
    "__main__": ["sharded"],
    "adjustments": ["properties_weights"],
    "capture": ["patching", "adjustments", "survey", "properties_models", "properties_patching"],
    "checks/__init__": ["checks", "properties_texts"],
    "checks/judging": ["checks", "checks_baseline", "checks_causal_tests"],
    "errors": ["properties_tensors", "texts"],
    "claims": ["properties_plots"],
    "files": ["faults"],
    "heads": ["properties_tensors"],
    "hub": ["models", "texts"],
    "live": ["properties_live"],
    "log": ["properties_plots"],
    "models": ["residual", "weights"],
    "patching": ["properties_patching"],
    "plots": ["properties_plots"],
    "published": ["package", "properties_texts"],
    "residual": ["properties_tensors"],
    "sharded": ["properties_files"],
    "survey": ["properties_tensors", "properties_models"],
    "texts": ["patching", "properties_texts", "properties_files"],
    "views": ["properties_plots"],
    "weights": ["properties_weights"],
}
# The last one collects garbage, which takes a second.
OPTIONS = ["-q", "--tb=no", "-oaddopts=", "--doctest-modules", "-pno:cacheprovider", "-pno:unraisableexception"]
SAMPLE, SEED = 60, 0  # mutants of each module in checks/; of every other module all are run
# Seconds: a test that takes longer is left out; so are the slowest of a mutant's tests that take longer together; and a
# mutant that takes longer is killed.
SLOWEST, TOGETHER, LIMIT = 5, 15, 90
EXCUSES = ("Equivalent", "Speed", "Tolerance", "Look")  # a mutant whose reason begins so does not matter
HEAD = """\
# Mutants

Made by `make mutants`, which changes one operator, number or branch of `interp_helpers` at a time (cosmic-ray's
operators; not in messages) and runs the tests of its module that enter the function, the fastest first, for at most
{together} s. Of the modules in `checks` {sample} mutants are drawn. A survivor does not matter when it is *equivalent*,
the same for every input, or changes only *speed*, a *tolerance*'s last digit, or a figure's *look*.
"""


class Tests:
    """A pytest plugin that runs chosen tests in their order, or notes which functions of a file each test enters."""

    def __init__(self, path, chosen=None):
        self.path, self.chosen, self.entered, self.seconds, self.failed = str(path), chosen, {}, {}, set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef, request):
        """The small models of conftest.py are made once; each run has a copy of them."""
        if fixturedef.argname == "folders" and self.chosen is not None:
            folder = request.getfixturevalue("tmp_path_factory").getbasetemp() / "models"
            shutil.copytree(MODELS, folder)
            made = {each.name: each for each in folder.iterdir()}
            fixturedef.cached_result = (made, fixturedef.cache_key(request), None)
            return made

    def pytest_fixture_post_finalizer(self, fixturedef):
        if fixturedef.argname == "folders" and self.chosen is None and fixturedef.cached_result:
            for family, folder in fixturedef.cached_result[0].items():
                shutil.copytree(folder, MODELS / family, dirs_exist_ok=True)

    def pytest_collection_modifyitems(self, items):
        if self.chosen is not None:
            by_name = {item.nodeid: item for item in items}
            items[:] = [by_name[each] for each in self.chosen if each in by_name]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        functions = self.entered[item.nodeid] = set()

        def trace(frame, *_):
            if frame.f_code.co_filename == self.path:
                functions.add(frame.f_code.co_firstlineno)

        start = time.monotonic()
        sys.settrace(trace if self.chosen is None else None)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.monotonic() - start

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)

    def run(self, module):
        """Pytest's exit status."""
        sys.dont_write_bytecode = self.chosen is not None  # files of one second and size have one bytecode
        files = [f"tests/test_{each}.py" for each in [module.replace("/", "_"), *TESTS.get(module, [])]]
        options = ["-m", "not hub and not launch", f"--basetemp={WORK}/tmp", *OPTIONS]
        options += ["--maxfail=1"] if self.chosen is not None else []
        return pytest.main([*options, *filter(os.path.isfile, files), f"interp_helpers/{module}.py"], [self])


def forked(work, seconds):
    """The exit status of work() in a process of its own; negative when a signal ended it, as when time runs out."""
    if (pid := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            signal.alarm(seconds)
            resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))  # a wrong number may ask for any amount of memory
            log = os.open(WORK / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1), os.dup2(log, 2)
            os._exit(work())
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what a test started itself
    return os.waitstatus_to_exitcode(status)


def baseline(module, path):
    """Run a module's tests. Returns {test: [seconds, first lines of the functions that it enters]}, fastest first."""

    def work():
        tests = Tests(path)
        tests.run(module)
        fast = [each for each, seconds in tests.seconds.items() if seconds < SLOWEST and each not in tests.failed]
        fast.sort(key=tests.seconds.get)
        left_out = {each: round(tests.seconds[each]) for each in {*tests.seconds} - {*fast}}
        loaded = [name for name, each in sys.modules.items() if "site-packages" in str(getattr(each, "__file__", ""))]
        (WORK / "baseline.json").write_text(
            json.dumps([{each: [tests.seconds[each], *tests.entered[each]] for each in fast}, loaded, left_out])
        )
        return 0 if fast else 1

    if status := forked(work, 1200):
        sys.exit(f"There are no tests of {module} that pass ({status}): see {WORK / 'output.txt'}.")
    entered, loaded, left_out = json.loads((WORK / "baseline.json").read_text())
    print(f"{module}: {len(entered)} tests; too slow, or failing without a mutant, are {left_out}", flush=True)
    for name in loaded:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if MODELS.is_dir():  # transformers fills its tables when it first reads a model
        importlib.import_module("transformers").AutoModelForCausalLM.from_pretrained(MODELS / "gpt2")
    gc.freeze()  # else each child writes to, and so copies, all that it shares with this process
    return entered


def mutants(source):
    """{"operator:occurrence": (operator, occurrence, function, line at which the function begins)}"""
    found, nodes = {}, list(ast_nodes(get_ast(source)))
    for name in filter(OPERATORS.fullmatch, OperatorProvider()):
        operator = OperatorProvider()[name]()
        places = [node for node in nodes for _ in operator.mutation_positions(node)]
        for occurrence, node in enumerate(places):
            # Left out: messages, and the star of def f(a, *, b), which is no product.
            if not node.search_ancestor("raise_stmt", "fstring") and node.parent.type != "parameters":
                found[f"{name}:{occurrence}"] = (operator, occurrence, *function(node))
    return found


def function(node):
    """The name of the function around a node, and the line at which it begins, with its decorators."""
    names, line = [], None
    node = node.parent.children[-1].children[0] if node.type == "decorator" else node
    while node := node.search_ancestor("funcdef", "classdef"):
        names.insert(0, node.name.value)
        if line is None and node.type == "funcdef":
            line = (node.parent if node.parent.type == "decorated" else node).start_pos[0]
    return ".".join(names) or "module", line


def change(before, after):
    """The first line that differs, before and after."""
    before, after = ([" ".join(line.split()) for line in each.splitlines() if line.strip()] for each in (before, after))
    at = next(at for at, line in enumerate(before) if at >= len(after) or line != after[at])
    gone = before[at + 1 : at + 2] == after[at : at + 1]  # a decorator
    return before[at], "(nothing)" if gone else after[at]


def results(module):
    """Where a module's results are kept: {"digest": of its source, "of": how many mutants it has, "mutants": {...}}"""
    return WORK / f"{module.replace('/', '.')}.json"


def run(module, again):
    """Run the mutants of a module that were not run yet, and those that survived, if `again`."""
    path = TREE / "interp_helpers" / f"{module}.py"
    source = path.read_text(encoding="utf-8")
    every, digest = mutants(source), hashlib.sha256(source.encode()).hexdigest()
    drawn = list(every)
    if module.startswith("checks/"):
        random.Random(SEED).shuffle(drawn)
        drawn = drawn[:SAMPLE]
    kept = json.loads(results(module).read_text()) if results(module).is_file() else {"digest": ""}
    if kept["digest"] != digest:
        kept = {"digest": digest, "of": len(every), "mutants": {}}
    done = kept["mutants"]
    left = [each for each in drawn if each not in done or (again and not done[each]["status"])]
    entered = baseline(module, path) if left else {}
    for key in left:
        operator, occurrence, name, line = every[key]
        try:
            mutant = mutate_code(source, operator, occurrence)
            compile(mutant, path, "exec")
        except (SyntaxError, AttributeError):  # cosmic-ray knows no := behind "if", and no dot behind "except"
            continue
        passed, chosen = 0, []
        for test, (taken, *lines) in entered.items():
            if (line is None or line in lines) and (passed := passed + taken) < TOGETHER:
                chosen.append(test)
        path.write_text(mutant, encoding="utf-8")
        start = time.monotonic()
        status = forked(lambda chosen=chosen: Tests(path, chosen).run(module), LIMIT) if chosen else 0
        seconds = round(time.monotonic() - start, 2)
        path.write_text(source, encoding="utf-8")
        old, new = change(source, mutant)
        done[key] = {"function": name, "old": old, "new": new, "status": status, "seconds": seconds}
        results(module).write_text(json.dumps(kept, indent=1), encoding="utf-8")
        print(f"{module} {key} {status} {seconds} s  {name}: {old}  ->  {new}", flush=True)
    results(module).write_text(json.dumps(kept, indent=1), encoding="utf-8")


def reasons():
    """{(module, function, line before, line after): reason}, from the list as it is."""
    found, module, name, reason = {}, "", "", ""
    for block in LEDGER.read_text(encoding="utf-8").split("\n\n") if LEDGER.is_file() else []:
        if block.startswith("## "):
            module = block[3:].strip()
        elif match := re.match(r"`(.+?)`: (.+)", " ".join(block.split())):
            name, reason = match.groups()
        elif block.startswith("    - "):
            old, *new = (line[6:] for line in block.splitlines())
            found |= {(module, name, old, each): reason for each in new}
    return found


def ledger(modules):
    """The text of docs/mutants.md."""
    known, total, rows, sections = reasons(), Counter(), [], []
    for module in filter(lambda each: results(each).is_file(), modules):
        kept, counts, survivors = json.loads(results(module).read_text(encoding="utf-8")), Counter(), {}
        for each in kept["mutants"].values():
            name, old, new = each["function"], each["old"], each["new"]
            reason = known.get((module, name, old, new), "Matters: no test fails.")
            counts["killed" if each["status"] else "excused" if reason.startswith(EXCUSES) else "matter"] += 1
            if not each["status"]:
                survivors.setdefault((name, old, reason), []).append(new)
        counts |= {"of": kept["of"], "run": len(kept["mutants"])}
        total += counts
        rows.append(row(f"`{module}`", counts))
        sections += [f"## {module}"] if survivors else []
        for (name, old, reason), new in survivors.items():
            sections.append(textwrap.fill(f"`{name}`: {reason}", 120, break_long_words=False, break_on_hyphens=False))
            sections.append("\n".join([f"    - {old}", *(f"    + {each}" for each in new)]))
    head = HEAD.format(together=TOGETHER, sample=SAMPLE)
    titles = "| module | mutants | run | killed | survive, matter | survive, do not | killed of those that matter |\n"
    table = titles + "|---|" + "---:|" * 6 + "\n" + "\n".join([*rows, row("all", total)])
    return "\n\n".join([head + "\n" + table, *sections]) + "\n"


def row(name, counts):
    matter = counts["killed"] + counts["matter"]
    cells = [name, *(counts[each] for each in ("of", "run", "killed", "matter", "excused"))]
    return "| " + " | ".join(map(str, [*cells, f"{counts['killed'] / matter:.1%}" if matter else "–"])) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--survivors", action="store_true", help="run those again that no test killed")
    parser.add_argument("modules", nargs="*", help='such as "heads" or "checks/judging"; without any, all')
    given, package = parser.parse_args(), ROOT / "interp_helpers"
    modules = sorted(str(each.relative_to(package).with_suffix("")) for each in package.rglob("*.py"))
    if unknown := sorted({*given.modules} - {*modules}):
        parser.error(f"there is no module {', '.join(unknown)}. There are: {', '.join(modules)}.")
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns(".*", "build", "__pycache__"))
    properties = TREE / "tests" / "properties.py"  # a fifth of the cases, and no search for the smallest one that fails
    text = properties.read_text(encoding="utf-8").replace("CASES = 300", "CASES = 60").replace(", Phase.shrink", "")
    properties.write_text(text, encoding="utf-8")
    os.chdir(TREE)
    sys.path[0] = os.environ["PYTHONPATH"] = str(TREE)  # before the installed package, here and in what tests start
    for module in given.modules or modules:
        run(module, given.survivors)
    LEDGER.write_text(ledger(modules), encoding="utf-8")


if __name__ == "__main__":
    main()
