"""Interactive views in a notebook or a web page, without any network.

A view holds its numbers and a few lines of JavaScript. `lens_view`, `circuit_view`, `training_view` and `blind_view`
need nothing else, and `contexts_view` needs no JavaScript either. CircuitsVis draws the other views, and `views_loader`
brings its bundle, of version 1.43, once a page. CircuitsVis's Python functions would put it into every view, and ask
the network at each.

A notebook that is not trusted runs no JavaScript. It shows a sentence in place of attention patterns, and the coloured
texts, table or patterns alone in place of the other views.
"""

import base64
import hashlib
import html
import json
import math
import re
import zlib
from importlib import resources
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import torch
from IPython.display import HTML
from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .errors import ArgumentError, check_finite, checked
from .text import token_labels

# A white card, because the drawing has dark letters on no ground of its own: it reads the same on a dark page.
_CARD = "background:white;color:black;padding:1em;max-width:50em;line-height:1.6"
_MISSING = (
    "An interactive attention view is drawn here once the notebook is trusted and the cell with views_loader() has run."
)

# What all cards share; "&" is the card. Pages have colours and sizes of their own for headings, paragraphs and labels,
# which a dark page makes light. The orange of the focus is of Okabe and Ito (2008), 3.9 to 1 on white.
_EVERY = """
& {color-scheme: light}
& :is(h3, h4, p, label) {background: none !important; color: inherit !important; font-family: inherit !important}
& button {border: 1px solid #888; border-radius: 0; cursor: pointer; background: white; color: black; font: inherit}
& :focus-visible {outline: 3px solid #d55e00 !important; outline-offset: -2px}
"""

# CircuitsVis lays the small patterns out by the width of the window, writes names over them, in white on yellow too,
# and makes the large pattern as wide as the card. Without a width of its own, the large one could only shrink.
_PATTERNS = """
& > div {padding: 0 !important}
& h2 {display: none}
& h3 {margin: 8px 0 !important; font-size: 1em !important; font-weight: bold !important; line-height: 1.4 !important}
& h4 {
  position: static !important; font-size: 10px !important; font-weight: normal !important; line-height: 1 !important;
  text-align: center}
& [role=button] {cursor: pointer}
& p {margin: 8px 0 0 !important; font-size: 12px !important}
& > div > div:nth-of-type(1) {
  display: grid !important; grid-template-columns: repeat(auto-fill, minmax(var(--small), 1fr)); margin: 0 !important}
& > div > div:nth-of-type(1) > div {width: auto !important; max-width: none !important}
& > div > div:nth-of-type(2) [style*=aspect-ratio] {width: 100% !important; max-width: 34em !important}
"""

# Colours of the text, on all of which black is readable. The first two are of Okabe and Ito, too. CircuitsVis colours
# predictions in pure red, with white letters, and has no property for that: a veil of white makes it the third colour.
# The room below a text is for the number or the table of a token in its last line, which Jupyter would cut off. Until
# one appears, a sentence stands there that says what the room is for. It takes no height, so that nothing jumps.
_MORE, _LESS, _LIKELY = (86, 180, 233), (230, 159, 0), (255, 102, 102)
_RISE = (77, 187, 157)
_UNLIKELY = -5  # nats: CircuitsVis leaves such a token white, and those below
_HINT = """
& > div:not(:has(> div))::after {
  content: "Point at a token, or go there with the arrow keys: " var(--appears); display: block; height: 18px;
  margin: 8px 0 -26px; color: #555; font-size: 12px; line-height: 18px}
"""
_TOKENS = """
& {--appears: "its number appears here."}
& > div {padding-bottom: 70px !important}
"""
_PREDICTIONS = """
& {--appears: "what the model predicts appears here."}
& > div {padding-bottom: calc(1.5em * var(--rows) + 7em) !important}
& > div > span > span {color: black !important; background-image: linear-gradient(#fff6, #fff6)}
& tr {color: black !important; background-image: linear-gradient(#fff9, #fff9); line-height: 1.5}
& :is(td, th) {padding: 0 .4em !important}
& hr {margin: 0}
"""

# Loader and views meet in a promise, so that it does not matter which of them the page runs first.
_PAGE = """
const page = globalThis.interpViews ??= {drawn: 0};
page.bundle ??= new Promise((done) => { page.ready = done; });
"""

# CircuitsVis finds its element by id. Equal views have equal markup, so each card gets its id only when it is drawn.
# AttentionHeads opens with head 0 and has no property for another one: a click on its small pattern chooses it.
_DRAW = """
const {render, ...components} = await page.bundle;
const {weights, scale, focus, ...props} = view;
if (weights) props.attention = weights.map(
  (head) => head.map((row) => props.tokens.map((_, key) => (row[key] ?? 0) / scale)));
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  if (focus) new MutationObserver((_, observer) => {
    const pattern = card.querySelectorAll("canvas")[focus];
    if (pattern) { observer.disconnect(); pattern.click(); }
  }).observe(card, {childList: true, subtree: true});
  render(card.id, components[component], props);
}
"""

# The table of the logit lens. Row labels and column heads stay in sight while the cells scroll. Pages have styles of
# their own for tables and lists, some of them with many selectors: hence !important.
_LENS = """
& {max-width: 66em !important; font-size: 14px; line-height: 1.4 !important}
& p {margin: 0 0 8px}
& > div {isolation: isolate; scroll-padding: var(--head) 0 0 96px}
& table {
  border-collapse: separate !important; border-spacing: 0; width: auto; margin: 0 !important;
  font-size: 12px !important; cursor: pointer}
& :is(td, th) {
  height: 24px; padding: 0 4px !important; border: solid #e4e4e4 !important; border-width: 0 1px 1px 0 !important;
  box-sizing: border-box; line-height: 1.3 !important; text-align: center !important;
  vertical-align: middle !important; white-space: pre !important}
& :is(td, thead th + th) {
  min-width: 64px !important; max-width: 64px !important; overflow: hidden; text-overflow: ellipsis}
& th {position: sticky; font-weight: normal !important}
& th:first-child {left: 0; z-index: 1; min-width: 92px; padding-right: 8px !important; text-align: right !important}
& thead th {top: 0; height: var(--head); vertical-align: bottom !important}
& thead th:first-child {z-index: 2}
& th[data-shown] {background: #ddd !important}
& td[tabindex="0"] {outline: 2px solid #888 !important; outline-offset: -2px}
& td[data-shown] {outline: 2px solid black !important; outline-offset: -2px}
& td:focus-visible {outline: 3px solid #d55e00 !important}
& lens-bar {display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin-bottom: 8px; font-size: 12px}
& button {height: 28px; margin: 0 -1px 0 0; padding: 0 12px}
& button[aria-pressed=true] {background: #333; color: white}
& lens-bar i {
  display: inline-block; width: 80px; height: 12px; margin: 0 6px; border: 1px solid #ccc; vertical-align: -2px}
& lens-panel {display: block; margin-top: 12px; min-height: calc(21px * (var(--rows) + 1)); line-height: 21px}
& ol {margin: 0 !important; padding: 0 !important; list-style: none}
& li {
  display: grid; grid-template-columns: 9em 4em minmax(0, 20em); gap: 8px; align-items: center; margin: 0 !important}
& li span {overflow: hidden; text-overflow: ellipsis; white-space: pre}
& li span + span {text-align: right; font-variant-numeric: tabular-nums}
& li i {height: 12px}
"""

# What several scripts use. A step of an arrow key is (down, right).
_TOOLS = """
const add = (parent, tag, text) => {
  const made = parent.appendChild(document.createElement(tag));
  made.textContent = text;
  return made;
};
const arrows = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const limit = (place, count) => Math.max(0, Math.min(count - 1, place));
const tellWeight = (tokens, query, key, weight, head) => {
  const part = (kind, place) => `${kind} ${place} '${tokens[place]}'`;
  const said = weight ?? "no attention to a later position";
  return `${part("query", query)} \\u2192 ${part("key", key)}: ${said} (${head})`;
};
"""

# A click, a tap or the keyboard chooses a cell; the last one of the top row is chosen first, and the table scrolls to
# it. The panel shows the chosen cell again as soon as the mouse leaves the table, so that nothing changes when the
# mouse crosses other cells on its way to the buttons. Arrow keys have no other effect: JupyterLab would leave the view.
_DRAW_LENS = f"""
const {{words, tables}} = view;{_TOOLS}"""
_DRAW_LENS += """\
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  const [said, box] = card.children, grid = box.firstChild, heads = grid.tHead.rows[0].cells;
  const cells = [...grid.querySelectorAll("td")];
  const bar = document.createElement("lens-bar"), panel = add(card, "lens-panel", "");
  card.prepend(bar);
  const choices = add(bar, "span", ""), scale = add(bar, "span", "");
  box.removeAttribute("tabindex");
  choices.setAttribute("role", "group");
  choices.setAttribute("aria-label", "text");
  panel.setAttribute("aria-live", "polite");
  grid.setAttribute("role", "grid");
  let table, chosen = cells[heads.length - 2];

  const show = (cell) => {
    const row = cell.parentNode.cells[0], head = heads[cell.cellIndex];
    for (const each of grid.querySelectorAll("[data-shown]")) each.removeAttribute("data-shown");
    for (const each of [cell, row, head]) each.setAttribute("data-shown", "");
    panel.textContent = "";
    const token = head.textContent.replace("\\n", " / ");
    add(panel, "b", `${row.textContent}, position ${cell.cellIndex - 1}, ${token}`);
    const top = table.cells[cells.indexOf(cell)], list = top.length && add(panel, "ol", "");
    if (!top.length) add(panel, "div", "No probability rises by half a thousandth or more.");
    for (const [word, value] of top) {
      const line = add(list, "li", "");
      add(line, "span", words[word]);
      add(line, "span", (table.rise ? "+" : "") + (value / 1000).toFixed(3));
      add(line, "i", "").style.cssText = `width: ${value / 10}%; background: rgb(${table.colour})`;
    }
  };
  const choose = (cell) => {
    chosen.tabIndex = -1;
    chosen = cell;
    chosen.tabIndex = 0;
    show(cell);
  };
  const turn = (to) => {
    table = to;
    said.textContent = to.said;
    grid.setAttribute("aria-label", to.said);
    to.heads.forEach((head, position) => { heads[position + 1].textContent = head; });
    cells.forEach((cell, number) => {
      const [word, value] = to.cells[number][0] ?? [null, 0];
      cell.textContent = words[word] ?? "";
      cell.style.backgroundColor = `rgb(${to.colour.map((part) => Math.round(255 + (value / 1000) * (part - 255)))})`;
    });
    for (const each of choices.children) each.setAttribute("aria-pressed", each.textContent === to.name);
    scale.textContent = to.rise ? "rise of the probability: 0" : "probability: 0";
    add(scale, "i", "").style.background = `linear-gradient(to right, white, rgb(${to.colour}))`;
    scale.append("1");
    show(chosen);
  };

  for (const cell of cells) {
    cell.removeAttribute("title");
    cell.tabIndex = -1;
  }
  if (tables.length > 1) for (const each of tables) add(choices, "button", each.name).onclick = () => turn(each);
  else choices.remove();
  turn(tables[0]);
  choose(chosen);
  box.scrollLeft = box.scrollWidth;
  const on = (kind, act) => grid.addEventListener(kind, (event) => {
    const cell = event.target.closest("td");
    if (cell) act(cell, event);
  });
  on("mouseover", show);
  on("click", (cell) => cell.focus());
  on("focusin", choose);
  on("keydown", (cell, event) => {
    const step = arrows[event.key];
    if (!step) return;
    event.preventDefault();
    const next = grid.rows[cell.parentNode.rowIndex + step[0]]?.cells[cell.cellIndex + step[1]];
    if (cells.includes(next)) next.focus();
  });
  grid.addEventListener("mouseleave", () => show(chosen));
}
"""

# The circuits of single heads. On the left, all heads and the answers to one word. Beside them, or below where there is
# no room, all words. A bar lies behind an answer in the table of all words, and beside it in the list of one word.
_CIRCUIT = """
& {max-width: 66em !important; font-size: 14px; line-height: 1.4 !important}
& circuit-bar {display: flex; flex-wrap: wrap; gap: 8px; margin-bottom: 16px}
& circuit-sides, & circuit-side:first-child {display: flex; flex-wrap: wrap; gap: 16px 24px}
& circuit-side:first-child {flex: 1 1 var(--side); align-content: flex-start}
& circuit-side {display: block; flex: 99 1 500px; min-width: 0}
& circuit-map, & circuit-panel {display: block; flex: 1 1 var(--side); min-width: 0}
& circuit-box {display: block; overflow: auto; isolation: isolate; scroll-padding: 28px 0 0 44px}
& circuit-map circuit-box {max-height: 254px}
& circuit-side + circuit-side circuit-box {height: calc(24px * var(--rows) + 282px)}
& table {
  border-collapse: separate !important; border-spacing: 0; width: 100%; margin: 0 !important; border: 0 !important;
  font-size: 12px !important; table-layout: auto !important}
& tr {background: white !important}
& [hidden] {display: none !important}
& :is(td, th) {
  padding: 1px !important; border: 0 !important; background: white !important; color: black !important;
  font-weight: normal !important; line-height: 20px !important; text-align: left !important;
  vertical-align: top !important}
& circuit-side + circuit-side :is(td, th) {padding-block: 2px !important}
& th {position: sticky; left: 0; z-index: 1; width: 1px; padding-right: 6px !important}
& thead th {top: 0; z-index: 2; white-space: nowrap !important}
& thead th + th {left: auto; z-index: 1; width: auto}
& circuit-map tbody th {padding-block: 5px !important}
& circuit-map th + th {padding: 1px 2px !important; font-size: 11px !important; text-align: center !important}
& button {min-height: 28px; padding: 2px 12px; text-align: left}
& circuit-bar button[aria-pressed=true] {background: #333; color: white}
& td button {
  display: block; box-sizing: border-box; width: 100%; min-width: 24px; padding: 0; border-color: #bbb; line-height: 1;
  background: rgba(var(--own), var(--mark)); text-align: center}
& td button[data-shown] {outline: 2px solid #888}
& td button[aria-pressed=true] {outline: 3px solid black; outline-offset: -2px}
& th button {
  overflow: hidden; box-sizing: border-box; width: 80px; padding: 0 4px; border-color: transparent;
  text-overflow: ellipsis; white-space: pre}
& tr[data-shown] button {background: #e4e4e4}
& th button[aria-pressed=true] {border-color: black}
& ol {margin: 0 !important; padding: 0 !important; list-style: none !important}
& li {--bar: var(--above); margin: 0 !important; color: black !important}
& li[data-below] {--bar: var(--below)}
& li[data-own] {--bar: var(--own); font-weight: bold}
& td ol {display: grid; grid-template-columns: repeat(auto-fit, minmax(64px, 1fr)); gap: 2px}
& td li {box-sizing: border-box; height: 28px; padding: 4px 0 4px 4px}
& td li:not([data-own]) {--strength: .4}
& :is(td li, li i) {
  background: linear-gradient(rgba(var(--bar), var(--strength, 1)) 0 0) 0 0 / var(--share) 100% no-repeat #f4f4f4}
& :is(td li, li span) {overflow: hidden; text-overflow: ellipsis; white-space: pre; line-height: 20px}
& circuit-panel {min-height: calc(24px * (var(--rows) + 1)); line-height: 24px}
& circuit-panel li {display: grid; grid-template-columns: 7em 4em minmax(0, 1fr); gap: 8px; align-items: center}
& li span {line-height: 24px}
& li span + span {text-align: right; font-variant-numeric: tabular-nums}
& li i {height: 14px}
& :is(p, small) {margin: 8px 0 0 !important; color: #555 !important; font-size: 12px !important}
& p i {
  display: inline-block; width: 80px; height: 12px; margin: 0 6px; border: 1px solid #ccc; vertical-align: -2px;
  background: linear-gradient(to right, white, rgb(var(--own)))}
& circuit-said {display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; margin-bottom: 8px}
& circuit-said small {margin: 0 !important}
& circuit-said span {flex: 1 0 100%}
& input {
  box-sizing: border-box; width: 150px; height: 28px; padding: 0 8px; border: 1px solid #888; border-radius: 0;
  background: white; color: black; font: inherit; font-size: 12px}
& ::placeholder {color: #595959; opacity: 1}
"""

# Pointing shows a head or a word. A click, a tap or the keyboard chooses it, and the chosen one is shown again when the
# mouse leaves. The tab key reaches the chosen head and the chosen word alone, and arrow keys go on from there.
_DRAW_CIRCUIT = f"""
const {{words, answers, circuits, letters, width, top, heads, start}} = view;{_TOOLS}"""
_DRAW_CIRCUIT += """\
const labels = circuits[0].digits.map((_, head) => `L${Math.floor(head / heads)}H${head % heads}`);
const texts = answers.map((text) => text.replace(/[ \\u00b7]/g, (letter) => (letter === " " ? "\\u00b7" : " ")));
const unpack = (packed, first, width) => Array.from({length: top}, (_, rank) => [
  ...packed.slice((first + rank) * width, (first + rank + 1) * width)
].reduce((sum, letter) => sum * letters.length + letters.indexOf(letter), 0));
const read = (circuit, head, word) => {
  const first = (head * words.length + word) * top, digits = circuit.digits[head];
  const values = unpack(circuit.values, first, 2).map((value) => value - (letters.length ** 2 - 1) / 2);
  const best = values[0];
  return unpack(circuit.answers, first, width).map((answer, rank) => ({
    text: texts[answer],
    own: texts[answer] === words[word],
    number: (values[rank] / 10 ** digits).toFixed(Math.max(0, digits)),
    below: values[rank] < 0,
    share: values[rank] === best ? 1 : best > 0 ? Math.max(0, values[rank] / best) : best / values[rank],
  }));
};
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  card.textContent = "";
  const bar = add(card, "circuit-bar", ""), sides = add(card, "circuit-sides", "");
  const left = add(sides, "circuit-side", ""), right = add(sides, "circuit-side", "");
  const said = add(right, "circuit-said", ""), what = add(said, "span", "");
  const filter = add(said, "input", ""), count = add(said, "small", "");
  const table = (side, columns) => {
    const made = add(add(side, "circuit-box", ""), "table", ""), line = add(made.createTHead(), "tr", "");
    for (const column of columns) add(line, "th", column).scope = "col";
    return made;
  };
  const row = (table, label) => {
    const line = add(table.tBodies[0] ?? table.createTBody(), "tr", ""), head = add(line, "th", label);
    head.scope = "row";
    return line;
  };
  const plan = add(left, "circuit-map", ""), panel = add(left, "circuit-panel", "");
  const map = table(plan, ["layer", ...labels.slice(0, heads).map((label) => label.slice(2))]), cells = [];
  for (let first = labels.length - heads; first >= 0; first -= heads) {
    const line = row(map, labels[first].slice(0, -2));
    for (let head = first; head < first + heads; head++) cells[head] = add(add(line, "td", ""), "button", "");
  }
  add(plan, "p", "\\u2022 has the word itself among its answers");
  const legend = add(plan, "p", "mark of a head: 0");
  add(legend, "i", "");
  legend.append("1");
  const list = table(right, ["word", "answers, best first"]);
  const lines = words.map((word) => {
    const line = row(list, ""), chips = add(add(line, "td", ""), "ol", "");
    add(line.cells[0], "button", word).title = word;
    for (let rank = 0; rank < top; rank++) add(chips, "li", "");
    return line;
  });
  const names = lines.map((line) => line.querySelector("button"));
  map.setAttribute("aria-label", "heads");
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "circuit");
  panel.setAttribute("aria-live", "polite");
  count.setAttribute("role", "status");
  filter.type = "search";
  filter.placeholder = "filter the words";
  filter.setAttribute("aria-label", "filter the words");

  let circuit, chosenHead = start, chosenWord = 0, head = start;
  const mark = (parts, shown) => parts.forEach((part, number) => part.toggleAttribute("data-shown", number === shown));
  const press = (buttons, chosen) => buttons.forEach((button, number) => {
    button.setAttribute("aria-pressed", number === chosen);
    button.tabIndex = number === chosen ? 0 : -1;
  });
  const fill = (line, {own, below, share}) => {
    line.toggleAttribute("data-own", own);
    line.toggleAttribute("data-below", below);
    line.style.setProperty("--share", `${100 * share}%`);
  };
  const showWord = (word) => {
    mark(lines, word);
    cells.forEach((cell, head) => {
      cell.textContent = read(circuit, head, word).some(({own}) => own) ? "\\u2022" : "";
    });
    panel.textContent = "";
    add(panel, "b", `${words[word]} in ${labels[head]}`);
    const best = add(panel, "ol", "");
    for (const each of read(circuit, head, word)) {
      const line = add(best, "li", "");
      add(line, "span", each.text);
      add(line, "span", each.number);
      add(line, "i", "");
      fill(line, each);
    }
  };
  const showHead = (shown) => {
    head = shown;
    mark(cells, head);
    what.textContent = "";
    add(what, "b", labels[head]);
    what.append(`, ${circuit.name}`);
    list.setAttribute("aria-label", what.textContent);
    lines.forEach((line, word) => read(circuit, head, word).forEach((each, rank) => {
      const chip = line.cells[1].firstChild.children[rank];
      chip.textContent = each.text;
      chip.title = `${each.text} ${each.number}`;
      fill(chip, each);
    }));
    showWord(chosenWord);
  };
  const turn = (to) => {
    circuit = to;
    for (const each of bar.children) each.setAttribute("aria-pressed", each.textContent === to.name);
    cells.forEach((cell, head) => {
      cell.title = labels[head] + (to.marks ? `: ${to.marks[head]}` : "");
      cell.style.setProperty("--mark", to.marks?.[head] ?? 0);
    });
    legend.hidden = !to.marks;
    showHead(chosenHead);
  };
  const chooseHead = (head) => {
    chosenHead = head;
    press(cells, head);
    showHead(head);
  };
  const chooseWord = (word) => {
    chosenWord = word;
    press(names, word);
    showWord(word);
  };
  const look = () => {
    const typed = filter.value.trim().toLowerCase();
    lines.forEach((line, word) => { line.hidden = !words[word].toLowerCase().includes(typed); });
    const found = lines.filter((line) => !line.hidden);
    count.textContent = `${found.length} of ${words.length} words`;
    if (found.length && lines[chosenWord].hidden) chooseWord(lines.indexOf(found[0]));
  };
  const listen = (table, buttons, find, show, choose, chosen, move) => {
    const on = (kind, act) => table.addEventListener(kind, (event) => {
      const number = find(event.target);
      if (number >= 0) act(number, event);
    });
    on("mouseover", show);
    on("click", (number) => buttons[number].focus());
    on("focusin", choose);
    on("keydown", (number, event) => {
      const step = arrows[event.key];
      if (!step) return;
      event.preventDefault();
      buttons[move(number, ...step)]?.focus();
    });
    table.addEventListener("mouseleave", () => show(chosen()));
  };
  listen(map, cells, (part) => cells.indexOf(part.closest("button")), showHead, chooseHead, () => chosenHead,
    (head, down, right) => {
      const column = (head % heads) + right;
      return column < 0 || column >= heads ? -1 : head - down * heads + right;
    });
  listen(list, names, (part) => lines.indexOf(part.closest("tr")), showWord, chooseWord, () => chosenWord,
    (word, down) => {
      let next = word + down;
      while (lines[next]?.hidden) next += down;
      return next;
    });
  filter.oninput = look;

  if (circuits.length > 1) for (const each of circuits) add(bar, "button", each.name).onclick = () => turn(each);
  else bar.remove();
  press(cells, start);
  press(names, 0);
  turn(circuits[0]);
  look();
  const box = map.parentNode, from = box.getBoundingClientRect(), to = cells[start].getBoundingClientRect();
  box.scrollTo(to.x - from.x - box.clientWidth / 2, to.y - from.y - box.clientHeight / 2);
}
"""

# A training: a slider over its frames, the patterns of some heads in one frame, and curves up to it. Patterns and
# curves stand side by side where there is room, so that both are seen while the training plays.
_TRAINING = """
& {max-width: 66em !important; font-size: 14px; line-height: 1.4 !important}
& :is(training-bar, training-sides, training-maps, training-foot) {display: flex; flex-wrap: wrap; gap: 12px 24px}
& training-sides {row-gap: 24px}
& training-bar {align-items: center; gap: 8px 16px; margin-bottom: 16px}
& label {display: flex; flex: none; gap: 8px; margin: 0; font-weight: normal}
& label b {min-width: var(--digits); font-variant-numeric: tabular-nums}
& input {flex: 1 1 200px; min-width: 0; height: 28px; margin: 0; padding: 0; accent-color: #0072b2; cursor: pointer}
& button {display: flex; gap: 8px; align-items: center; width: 88px; height: 32px; padding: 0 12px}
& button i {width: 11px; height: 12px; background: #0072b2; clip-path: polygon(0 0, 100% 50%, 100% 50%, 0 100%)}
& button[data-playing] i {clip-path: polygon(0 0, 36% 0, 36% 100%, 64% 100%, 64% 0, 100% 0, 100% 100%, 0 100%)}
& training-maps {flex: var(--heads) 1 calc(var(--heads) * 250px); align-content: flex-start}
& training-map {
  display: grid; flex: 1 1 220px; grid-template: auto auto auto / 16px minmax(0, 1fr); gap: 2px 4px; max-width: 330px}
& training-map b, & training-map small {grid-column: 2}
& training-map b {align-self: end; font-size: 13px; overflow-wrap: anywhere}
& :is(training-map, training-foot) small {color: #555 !important; font-size: 12px !important; line-height: 16px}
& training-map small:first-of-type {grid-area: 2 / 1; writing-mode: vertical-rl}
& training-grid {display: block; position: relative; aspect-ratio: 1; overflow: hidden; outline: 1px solid #bbb}
& canvas {display: block; width: 100%; height: 100%; background: #eee; image-rendering: pixelated; cursor: crosshair}
& training-grid i {
  position: absolute; box-sizing: border-box; width: var(--cell); height: var(--cell); border: 2px solid #d55e00;
  outline: 1px solid white; pointer-events: none}
& input:focus-visible {outline-offset: 1px}
& training-charts {
  display: grid; flex: 1 1 220px; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 12px 24px;
  align-content: start}
& training-chart {display: block; max-width: 330px}
& training-chart p {
  display: flex; gap: 12px; justify-content: space-between; align-items: end; margin: 0 !important; font-size: 13px}
& training-chart p span {overflow-wrap: anywhere}
& training-chart p b {color: #0072b2; font-size: 16px; line-height: 1.1; font-variant-numeric: tabular-nums}
& svg {display: block; width: 100%; height: auto}
& svg text {fill: #555; font-size: 10px; font-family: sans-serif}
& svg path {fill: none; stroke: #e4e4e4}
& svg path:last-of-type {stroke: #aaa; stroke-dasharray: 2 2}
& polyline {fill: none; stroke: #0072b2; stroke-width: 2; stroke-linejoin: round}
& circle {fill: #0072b2}
& training-foot {flex: 1 0 100%; justify-content: space-between}
& training-foot span {flex: 1 1 260px; min-height: 40px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere}
& small i {
  display: inline-block; width: 80px; height: 12px; margin: 0 6px; border: 1px solid #ccc; vertical-align: -2px;
  background: linear-gradient(to right, var(--colours))}
"""

# Playing goes through all frames in about six seconds. A reader who asked their system for less motion gets six jumps.
# The cell that was pointed at last stays marked, so that its weight can be followed while the training plays.
# JupyterLab would take the keys of the slider and of the maps for its own.
_DRAW_TRAINING = f"""
const {{tokens, names, steps, even, curves, patterns, letters, colours, start}} = view;{_TOOLS}"""
_DRAW_TRAINING += """\
const size = tokens.length, last = steps.length - 1;
const weight = (frame, head, query, key) => {
  const row = ((frame * names.length + head) * size * (size + 1)) / 2 + (query * (query + 1)) / 2;
  const digit = (which) => letters.indexOf(patterns[2 * (row + key) + which]);
  return (digit(0) * letters.length + digit(1)) / (letters.length ** 2 - 1);
};
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  card.textContent = "";
  const bar = add(card, "training-bar", ""), sides = add(card, "training-sides", "");
  const button = add(bar, "button", ""), label = add(bar, "label", "training step "), slider = add(bar, "input", "");
  add(button, "i", "");
  const action = add(button, "span", "Play"), shown = add(label, "b", "");
  slider.type = "range";
  slider.max = last;
  slider.id = label.htmlFor = card.id + "-step";
  slider.setAttribute("aria-label", "training step");
  let frame, cell, timer;

  const maps = add(sides, "training-maps", "");
  const heads = names.map((name, head) => {
    const map = add(maps, "training-map", "");
    add(map, "b", name);
    add(map, "small", "query \\u2192");
    const grid = add(map, "training-grid", ""), canvas = add(grid, "canvas", ""), mark = add(grid, "i", "");
    add(map, "small", "key \\u2192");
    canvas.width = canvas.height = size;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.onpointermove = canvas.onpointerdown = (event) => {
      const box = canvas.getBoundingClientRect();
      const part = [(event.clientY - box.y) / box.height, (event.clientX - box.x) / box.width];
      point(head, ...part.map((each) => limit(Math.floor(each * size), size)));
    };
    canvas.onkeydown = (event) => {
      const step = arrows[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const [, query, key] = cell ?? [head, size - 1, size - 1];
      point(head, limit(query + step[0], size), limit(key + step[1], size));
    };
    return {canvas, mark, pen: canvas.getContext("2d")};
  });
  const right = add(sides, "training-charts", "");
  const charts = curves.map(({name, values, ticks, digits}) => {
    const chart = add(right, "training-chart", ""), title = add(chart, "p", ""), box = add(chart, "div", "");
    add(title, "span", name);
    const value = add(title, "b", ""), low = ticks[0], high = ticks[ticks.length - 1];
    const x = (frame) => 38 + (212 * frame) / last, y = (value) => 106 - (98 * (value - low)) / (high - low);
    const text = (x, y, side, said) => `<text x="${x}" y="${y}" text-anchor="${side}">${said}</text>`;
    box.innerHTML = '<svg viewBox="0 0 260 126" role="img">' +
      ticks.map((tick) => `<path d="M38 ${y(tick)}H250"/>` + text(32, y(tick) + 3.5, "end", tick)).join("") +
      text(38, 121, "middle", steps[0]) + text(256, 121, "end", steps[last]) +
      text(140, 121, "middle", "training step" + (even ? "" : " (not to scale)")) +
      "<path/><polyline/><circle r='4'/></svg>";
    const drawing = box.firstChild, now = box.querySelector("path:last-of-type");
    const line = box.querySelector("polyline"), dot = box.querySelector("circle");
    return () => {
      const [across, up] = [x(frame), y(values[frame])];
      value.textContent = values[frame].toFixed(digits);
      drawing.setAttribute("aria-label", `${name}: ${value.textContent} at step ${steps[frame]}`);
      line.setAttribute("points", values.slice(0, frame + 1).map((each, at) => `${x(at)},${y(each)}`).join(" "));
      dot.setAttribute("cx", across);
      dot.setAttribute("cy", up);
      now.setAttribute("d", `M${across} 8V106`);
    };
  });
  const foot = add(maps, "training-foot", ""), told = add(foot, "span", "Point at a cell to read its weight.");
  const legend = add(foot, "small", "attention: 0");
  add(legend, "i", "");
  legend.append("1");
  told.setAttribute("role", "status");

  const tell = () => {
    if (!cell) return;
    const [head, query, key] = cell;
    for (const {mark} of heads) {
      mark.hidden = false;
      mark.style.inset = `${(100 * query) / size}% auto auto ${(100 * key) / size}%`;
    }
    const share = key > query ? null : weight(frame, head, query, key).toFixed(2);
    told.textContent = tellWeight(tokens, query, key, share, names[head]);
  };
  const point = (...to) => {
    cell = to;
    tell();
  };
  const go = (to) => {
    frame = to;
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `step ${steps[frame]}`);
    shown.textContent = steps[frame];
    heads.forEach(({canvas, pen}, head) => {
      canvas.setAttribute("aria-label", `attention of ${names[head]} at step ${steps[frame]}`);
      for (let query = 0; query < size; query++) for (let key = 0; key <= query; key++) {
        pen.fillStyle = colours[Math.round(weight(frame, head, query, key) * (colours.length - 1))];
        pen.fillRect(key, query, 1, 1);
      }
    });
    for (const draw of charts) draw();
    tell();
  };
  const play = (on) => {
    clearInterval(timer);
    timer = null;
    button.toggleAttribute("data-playing", on);
    action.textContent = on ? "Pause" : "Play";
    told.setAttribute("aria-live", on ? "off" : "polite");
    if (!on) return;
    if (frame === last) go(0);
    const stride = matchMedia("(prefers-reduced-motion: reduce)").matches ? Math.ceil(last / 6) : 1;
    timer = setInterval(() => {
      if (card.isConnected) go(Math.min(frame + stride, last));
      if (frame === last || !card.isConnected) play(false);
    }, (6000 * stride) / last);
  };
  button.onclick = () => play(!timer);
  slider.oninput = () => {
    play(false);
    go(Number(slider.value));
  };
  bar.onkeydown = (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  };
  for (const {mark} of heads) mark.hidden = true;
  go(start);
}
"""

# Contexts of a unit, one a row. Where there is room, the rows are aligned at the token in question, which stands in the
# second of three columns. Elsewhere each row is ordinary text.
_CONTEXTS = """
& {
  max-width: 60em !important; box-sizing: border-box; container-type: inline-size; font-size: 14px;
  line-height: 1.5 !important}
& p {margin: 0 0 8px !important}
& small {color: #555 !important; font-size: 12px !important}
& ol {margin: 0 0 16px !important; font-size: 13px}
& li {
  display: flow-root; margin: 0 !important; padding: 4px 0; border-top: 1px solid #e4e4e4; color: black;
  overflow-wrap: anywhere}
& li > span {display: inline !important}
& li > small {float: right; margin-left: 12px; line-height: 20px; font-variant-numeric: tabular-nums}
@container (min-width: 600px) {
  & li {
    display: grid; grid-template-columns: minmax(0, 7fr) minmax(0, 4fr) auto; align-items: end; padding: 2px 0}
  & li > span {display: block !important; width: auto !important}
}
"""

# All units lie on one another, and one of them is seen, so that the buttons below them stay where they are.
_BLIND = """
& [hidden] {display: none !important}
&[id] > div {display: grid}
&[id] > div > div {grid-area: 1 / 1; min-width: 0; margin: 0 !important; visibility: hidden}
&[id] > div > [data-shown] {visibility: visible}
& p[role=status] {font-weight: bold; scroll-margin-top: 72px}
& blind-bar {
  display: flex; flex-wrap: wrap; gap: 8px; position: sticky; bottom: 0; padding: 8px 0; border-top: 1px solid #bbb;
  background: white}
& blind-bar span {display: flex; flex-wrap: wrap; gap: 8px}
& blind-bar span:first-child {margin-right: auto}
& button {min-height: 32px; padding: 2px 12px}
& button:focus-visible {outline-offset: 1px}
& button[aria-pressed] {border-color: #0072b2; background: #e3f0f8}
& button[aria-pressed=true] {background: #0072b2; color: white}
& button[aria-disabled=true] {border-color: #ccc; color: #767676; cursor: default}
& table {
  width: auto; margin: 0 0 16px !important; border: 0 !important; border-collapse: collapse !important;
  font-size: 13px !important; table-layout: auto !important}
& tr {background: white !important}
& :is(td, th) {
  padding: 4px 24px 4px 0 !important; border: solid #e4e4e4 !important; border-width: 1px 0 0 !important;
  background: white !important; color: black !important; font-weight: normal !important; text-align: left !important;
  vertical-align: middle !important; white-space: normal !important}
& thead th {border: 0 !important; color: #555 !important}
& table button {min-height: 28px; padding: 2px 8px; white-space: nowrap}
@container (max-width: 599px) {& :is(td, th) {padding-right: 12px !important}}
"""

# After an answer comes the next unit without one, and after the last answer the result. From then on, kinds are known
# and answers stay. Where the number of the unit has been scrolled out of sight, it comes back with the next unit. A
# button that cannot act keeps the focus. JupyterLab would take the keys of buttons for its own.
_DRAW_BLIND = f"""
const {{kinds}} = view;{_TOOLS}"""
_DRAW_BLIND += """\
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  const [question, legend, stage] = card.children, units = [...stage.children], answers = units.map(() => null);
  for (const part of [card.lastChild, ...units.flatMap((unit) => [unit.firstChild, unit.lastChild])]) part.remove();
  const said = document.createElement("p"), result = add(card, "section", ""), bar = add(card, "blind-bar", "");
  stage.before(said);
  said.setAttribute("role", "status");
  said.tabIndex = -1;
  const button = (parent, text, act) => {
    const made = add(parent, "button", text);
    made.type = "button";
    made.onclick = act;
    return made;
  };
  const table = (label, heads, rows) => {
    const made = add(result, "table", ""), line = add(made.createTHead(), "tr", ""), body = made.createTBody();
    made.setAttribute("aria-label", label);
    for (const head of heads) add(line, "th", head).scope = "col";
    return rows.map(([first, ...cells]) => {
      const row = add(body, "tr", "");
      add(row, "th", first).scope = "row";
      for (const cell of cells) add(row, "td", cell);
      return row;
    });
  };
  let at, done = false;

  const go = (to) => {
    at = to;
    const shown = at !== null, name = `Unit ${at + 1} of ${units.length}`;
    for (const part of [question, legend, stage, previous, next]) part.hidden = !shown;
    for (const choice of choices) {
      choice.hidden = done;
      choice.setAttribute("aria-pressed", shown && choice.textContent === answers[at]);
    }
    back.hidden = !done || !shown;
    result.hidden = shown;
    units.forEach((unit, number) => unit.toggleAttribute("data-shown", number === at));
    previous.setAttribute("aria-disabled", at === 0);
    next.setAttribute("aria-disabled", at === units.length - 1);
    said.textContent = !shown ? "Units that you called \u201cone meaning\u201d, for every kind" :
      done ? `${name}: ${kinds[at]}. Your answer: ${answers[at]}.` : name;
  };
  const turn = (to) => {
    go(to);
    said.scrollIntoView({block: "nearest"});
  };
  const finish = () => {
    done = true;
    result.textContent = "";
    table("result", ["kind", choices[0].textContent], [...new Set(kinds)].map((kind) => {
      const given = answers.filter((_, unit) => kinds[unit] === kind);
      return [kind, `${given.filter((each) => each === choices[0].textContent).length} of ${given.length}`];
    }));
    const rows = table("units", ["unit", "kind", "your answer", "texts"],
      kinds.map((kind, unit) => [unit + 1, kind, answers[unit], ""]));
    rows.forEach((row, unit) => {
      button(row.lastChild, "look again", () => {
        turn(unit);
        back.focus({preventScroll: true});
      }).setAttribute("aria-label", `look again at unit ${unit + 1}`);
    });
    turn(null);
    said.focus({preventScroll: true});
  };
  const answer = ({target}) => {
    answers[at] = target.textContent;
    const open = units.map((_, step) => (at + 1 + step) % units.length).find((unit) => answers[unit] === null);
    if (open === undefined) finish();
    else turn(open);
  };

  const left = add(bar, "span", ""), right = add(bar, "span", "");
  const choices = ["one meaning", "no single meaning"].map((text) => button(left, text, answer));
  const back = button(left, "back to the result", () => {
    const unit = at;
    turn(null);
    result.querySelectorAll("button")[unit].focus();
  });
  const previous = button(right, "previous", () => turn(Math.max(at - 1, 0)));
  const next = button(right, "next", () => turn(Math.min(at + 1, units.length - 1)));
  button(right, "start over", () => {
    answers.fill(null);
    done = false;
    turn(0);
    choices[0].focus({preventScroll: true});
  });
  card.onkeydown = (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  };
  go(0);
}
"""

# CircuitsVis listens to the mouse alone. Here its heads become buttons, its patterns get names, and arrow keys go over
# the cells of the large pattern and over the tokens of a text. The head that is large has a shadow. A token with the
# focus gets the events of a mouse over it, and a screen reader says what CircuitsVis adds to the text then. JupyterLab
# would take the keys for its own.
_KEYS = _TOOLS
_KEYS += """\
const keys = (card, act) => {
  card.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || act(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  };
};
const nameHeads = (card, {attention, attentionHeadNames: names, maskUpperTri, tokens}) => {
  const told = document.createElement("p");
  told.setAttribute("role", "status");
  let large, shown, cell;
  const tell = () => {
    const [query, key] = cell ?? [], weight = maskUpperTri && key > query ? null : attention[shown][query]?.[key];
    const text = cell ? tellWeight(tokens, query, key, weight, names[shown]) :
      "Point at a cell of the large pattern to read its weight, or go there with the arrow keys.";
    if (told.textContent !== text) told.textContent = text;
  };
  const draw = () => {
    const heads = [...card.querySelectorAll("h4")].map((name) => name.parentNode.parentNode);
    const patterns = [...card.querySelectorAll("canvas")];
    large = patterns[heads.length];
    if (!large) return;
    shown = heads.findIndex((head) => head.firstChild.style.boxShadow);
    heads.forEach((head, number) => {
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.setAttribute("aria-label", `head ${names[number]}`);
      head.setAttribute("aria-pressed", number === shown);
    });
    large.tabIndex = 0;
    patterns.forEach((pattern, number) => {
      pattern.setAttribute("aria-label", `attention pattern of head ${names[number] ?? names[shown]}`);
    });
    if (!told.isConnected) card.append(told);
    tell();
  };
  new MutationObserver(draw).observe(card, {childList: true, subtree: true, attributeFilter: ["style"]});
  keys(card, ({key, target}) => {
    const step = arrows[key];
    if (target !== large && (key === "Enter" || key === " ")) return target.click();
    if (target !== large || !step) return false;
    cell = (cell ?? [tokens.length - 1, 0]).map((place, side) => limit(place + step[side], tokens.length));
    tell();
  });
};
const nameTokens = (card) => {
  const find = () => [...card.querySelectorAll(":scope > div > span")];
  const mouse = (token, ...kinds) => {
    const {x, y, width, height} = token.getBoundingClientRect();
    const place = {clientX: x + width / 2, clientY: y + height / 2};
    for (const kind of kinds) token.dispatchEvent(new MouseEvent(kind, place));
  };
  const reach = (to) => find().forEach((token) => { token.tabIndex = token === to ? 0 : -1; });
  new MutationObserver((_, observer) => {
    const [first] = find();
    if (!first) return;
    observer.disconnect();
    reach(first);
    first.parentNode.setAttribute("aria-live", "polite");
  }).observe(card, {childList: true, subtree: true});
  card.addEventListener("focusin", ({target}) => {
    reach(target);
    mouse(target, "mouseenter", "mousemove");
  });
  card.addEventListener("focusout", ({target}) => mouse(target, "mouseleave"));
  keys(card, ({key, target}) => {
    const tokens = find(), step = arrows[key];
    if (key === "Escape") return mouse(target, "mouseleave");
    if (!step) return false;
    tokens[limit(tokens.indexOf(target) + step[0] + step[1], tokens.length)].focus();
  });
};
"""

_LOAD = """
if (page.loaded) return;
page.loaded = true;
const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const source = await new Response(stream).text();
const {render, ...components} = new Function(source + "\\nreturn CircuitsVis;")();
page.ready({...components, render: (id, component, props) => {
  render(id, component, props);
  (props.attention ? nameHeads : nameTokens)(document.getElementById(id), props);
}});
"""


def _card(kind, component, view, fallback, style, draw=_DRAW):
    """A view: the card with what it shows until it is drawn, its style, and the script that draws a component of
    CircuitsVis, or what `draw` makes of the data."""
    # JSON is ASCII here; without "<" no token can end the script.
    data = json.dumps(view, separators=(",", ":")).replace("<", "\\u003c")
    name = f"{kind}-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    return HTML(
        f'<div data-view="{name}" style="{_CARD}">{fallback}</div>\n{_style(name, style)}\n'
        f'<script>(async (name, component, view) => {{{_PAGE}{draw}}})("{name}", "{component}", {data})</script>'
    )


def _style(name, rules):
    """The element with the rules of a card and those that all cards share."""
    return f"<style>{(_EVERY + rules).replace('&', f'[data-view={name}]')}</style>"


@checked
def attention_view(
    tokens: list[str],
    pattern: Float[Tensor, "head token token"],
    names: list[str] | None = None,
    focus: int | None = None,
    digits: int = 3,
) -> HTML:
    """Attention of some heads as CircuitsVis's AttentionHeads: all of them small, one of them large with its numbers.

    tokens: a string for every position, as `token_labels` makes them. The area above the diagonal is grey when no head
    attends to later positions. names: one for every head, such as "L4H3"; without them, "H0" and so on. focus: index of
    the head that is large when the view opens, 0 if not given. digits: decimals that are kept. With 3, 8 causal heads
    of 32 tokens take about 15 kB.

    Click on a small pattern, or go there with the tab key and press Enter, to see it large. Point at a cell of the
    large one, or go there with the arrow keys, to read its weight.

    The view draws when the page has the output of `views_loader` too, and says so until then. A notebook that is not
    trusted runs no JavaScript: put a figure of matplotlib beside it. Raises ArgumentError for other shapes and NaN, and
    when names or focus do not fit the heads.
    """
    heads = len(pattern)
    if pattern.shape[-1] != len(tokens):
        raise ArgumentError(f"There are {len(tokens)} tokens, but pattern has the shape {tuple(pattern.shape)}.")
    names = [f"H{head}" for head in range(heads)] if names is None else names
    if len(names) != heads:
        raise ArgumentError(f"There are {len(names)} names for {heads} heads. Give each head one name.")
    if focus is not None and not 0 <= focus < heads:
        raise ArgumentError(f"focus is {focus}, but the heads are numbered from 0 to {heads - 1}.")
    check_finite(pattern=pattern)
    scale = 10**digits
    weights = (pattern.cpu().double() * scale).round().long()
    view = {
        "tokens": tokens,
        "attentionHeadNames": names,
        "weights": [[np.trim_zeros(row, "b") for row in head] for head in weights.tolist()],
        "scale": scale,
        "maskUpperTri": not weights.triu(1).any(),
        "focus": focus,
    }
    small = "5em" if heads <= 16 else "max(2.4em, 100% / 16.5)"  # 8 in a row on a phone, 16 on a desktop
    return _card("attention", "AttentionHeads", view, _MISSING, f"& {{--small: {small}}}{_PATTERNS}")


@checked
def token_view(
    tokens: list[str], values: Float[Tensor, " token"], limits: tuple[float | int, float | int] | None = None
) -> HTML:
    """A text coloured by one number for every token, such as its loss, as CircuitsVis's ColoredTokens.

    tokens: a string for every number, as `token_labels` makes them. values: `(token,)`, three decimals are shown; point
    at a token, or go there with the arrow keys, to read its number. 0 is white, positive numbers are blue and negative
    ones orange. limits: the numbers (lowest, highest) that have the full colour, and so has everything beyond them. 0
    lies between them or is one of them. Without limits, both colours are full at the largest absolute value.

    The colours are seen without JavaScript too. Raises ArgumentError for other shapes and NaN, and for limits that are
    on one side of 0.
    """
    if len(values) != len(tokens):
        raise ArgumentError(f"There are {len(tokens)} tokens, but {len(values)} values. Give each token one value.")
    check_finite(values=values)
    numbers = [round(value, 3) for value in values.tolist()]
    largest = max(map(abs, numbers), default=0)
    low, high = limits or (-largest, largest)
    if not (low <= 0 <= high) or (limits and low == high):
        raise ArgumentError(f"limits are {limits}: give (lowest, highest) with 0 between them, because 0 is white.")
    low, high = min(low, -1e-9), max(high, 1e-9)  # CircuitsVis divides by them
    shades = [_shade(value / high, _MORE) if value >= 0 else _shade(value / low, _LESS) for value in numbers]
    view = {
        "tokens": list(map(_as_text, tokens)),
        "values": numbers,
        "minValue": low,
        "maxValue": high,
        "positiveColor": _rgb(_MORE),
        "negativeColor": _rgb(_LESS),
    }
    return _card("token", "ColoredTokens", view, _text(tokens, shades, numbers), _TOKENS + _HINT)


@checked
def prediction_view(
    tokenizer, tokens: Int[Tensor, " position"], logits: Float[Tensor, "position vocabulary"], top_k: int = 10
) -> HTML:
    """A text coloured by how probable the model found each token, as CircuitsVis's TokenLogProbs.

    tokens: `(position,)` ids. logits: `(position, vocabulary)`, of the same text; the prediction for the token at t
    stands at t - 1, so the first token has none and stays without a colour. A token is red when the model gave it a
    high log probability, and white at -5 nats or less. Point at a token, or go there with the arrow keys, to see the
    `top_k` most probable ones.

    The colours are seen without JavaScript too. Raises ArgumentError for other shapes, NaN, and fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ArgumentError("tokens has no second token, so there is no prediction to show. Give a longer text.")
    if not 1 <= top_k <= logits.shape[-1]:
        raise ArgumentError(
            f"top_k is {top_k}; choose a number from 1 to {logits.shape[-1]}, the size of the vocabulary."
        )
    check_finite(logits=logits)
    tokens = tokens.cpu()
    log_probs = logits[:-1].cpu().double().log_softmax(-1)
    order = log_probs.argsort(dim=-1, descending=True, stable=True)
    top = log_probs.gather(-1, order[:, :top_k]).tolist()
    words = [token_labels(tokenizer, row) for row in order[:, :top_k]]
    right = log_probs.gather(-1, tokens[1:, None])[:, 0]
    labels = token_labels(tokenizer, tokens)
    view = {
        "prompt": list(map(_as_text, labels)),
        "topKLogProbs": [[round(each, 3) for each in row] for row in top],
        "topKTokens": [list(map(_as_text, row)) for row in words],
        "correctTokenRank": (order == tokens[1:, None]).int().argmax(-1).tolist(),
        "correctTokenLogProb": [round(each, 3) for each in right.tolist()],
    }
    shades = ["#ffffff"] + [_shade(1 - each / _UNLIKELY, _LIKELY) for each in right.tolist()]
    titles = [""] + [
        f"{each:.2%}, most probable: {row[0]} {best:.2%}"
        for each, row, best in zip(right.exp().tolist(), words, log_probs.max(-1).values.exp().tolist())
    ]
    style = f"& {{--rows: {top_k}}}{_PREDICTIONS}{_HINT}"
    return _card("prediction", "TokenLogProbs", view, _text(labels, shades, titles), style)


_SAID = {
    "prompt": "The most probable next token at every depth, as the logit lens reads the residual stream.",
    "control": "The most probable next token at every depth, for the control.",
    "difference": "The token whose probability rises most from the control to the prompt; the cell is empty when none "
    "rises. Where the texts differ, the control's token stands below the prompt's.",
}


@checked
def lens_view(
    tokenizer,
    tokens: Int[Tensor, " position"],
    logits: Float[Tensor, "depth position vocabulary"],
    control: tuple[Tensor, Tensor] | None = None,
    top_k: int = 5,
) -> HTML:
    """The logit lens (`residual.to_logits`) of a text: a table of depths and positions with the most probable tokens.

    tokens: `(position,)` ids. logits: `(depth, position, vocabulary)`, what the lens makes of the residual stream at
    every depth: row 0 of the embedding, row 1 of the stream after layer 0, and so on. The last depth stands on top.
    Each cell holds the most probable next token, on white when its probability is 0 and on the full colour when it is
    1. Point at a cell, tap it or go there with the arrow keys to see its `top_k` most probable tokens.

    control: (tokens, logits) of a second text with as many tokens and depths. Buttons then switch between the prompt,
    the control and the difference. There each cell holds the token whose probability rises most from control to prompt,
    or nothing when none rises by half a thousandth. Numbers are rounded to three decimals. 20 tokens and 7 depths take
    about 35 kB, and 50 kB with a control.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the prompt's table
    alone: point at a cell there, too. Raises ArgumentError for other shapes and NaN, for a control of another shape,
    and when the vocabulary has fewer than `top_k` tokens.
    """
    texts = {"prompt": (tokens, logits)} | ({} if control is None else {"control": control})
    shapes = [(tuple(ids.shape), tuple(each.shape)) for ids, each in texts.values()]
    if shapes[0] != shapes[-1]:
        raise ArgumentError(
            f"The prompt's tokens and logits have the shapes {shapes[0]}, but the control's have {shapes[1]}. "
            "Choose a control of as many tokens, and give the same depths of both."
        )
    if not len(tokens) or not len(logits):
        raise ArgumentError(f"logits has the shape {tuple(logits.shape)}; give at least one depth and one token.")
    if not 1 <= top_k <= logits.shape[-1]:
        raise ArgumentError(
            f"top_k is {top_k}; choose a number from 1 to {logits.shape[-1]}, the size of the vocabulary."
        )
    check_finite(**{f"logits of the {name}": each for name, (_, each) in texts.items()})
    heads = [token_labels(tokenizer, ids) for ids, _ in texts.values()]
    scores = [each.float().softmax(-1) for _, each in texts.values()]
    if control is not None:
        heads.append([one if one == other else f"{one}\n{other}" for one, other in zip(*heads)])
        scores.append(scores[0] - scores[1])
    best = [each.flip(0).flatten(0, 1).topk(top_k) for each in scores]  # (cell, rank): cells in the page's order
    ids = torch.cat([each.indices.flatten() for each in best]).unique().tolist()
    number = {token: place for place, token in enumerate(ids)}
    tables = []  # their numbers are thousandths, which are shorter
    for (name, said), labels, (values, indices) in zip(_SAID.items(), heads, best):
        rise = name == "difference"
        cells = [
            [[number[token], value] for token, value in zip(*cell) if value > 0 or not rise]
            for cell in zip(indices.tolist(), (values * 1000).round().int().tolist())
        ]
        colour = _RISE if rise else _MORE
        tables.append({"name": name, "said": said, "rise": rise, "colour": colour, "heads": labels, "cells": cells})
    words = token_labels(tokenizer, ids)
    style = f"& {{--rows: {top_k}; --head: {24 if control is None else 38}px}}{_LENS}"
    return _card("lens", "", {"words": words, "tables": tables}, _table(words, tables[0]), style, _DRAW_LENS)


_WHITE = 'style="background-color:white;color:black;white-space:nowrap"'


def _table(words, table):
    """A table of the lens as it is without JavaScript. Its colours stand in the elements, because a notebook that is
    not trusted has no style either, and a dark page may stripe the rows of a table with dark grey."""
    heads = [f'<th scope="col" {_WHITE}>{html.escape(head)}</th>' for head in ["depth", *table["heads"]]]
    cells = []
    for cell in table["cells"]:
        word, share = cell[0]
        title = html.escape(", ".join(f"{words[word]} {value / 1000:.3f}" for word, value in cell))
        style = f"background-color:{_shade(share / 1000, table['colour'])}"
        cells.append(f'<td style="{style}" title="{title}">{html.escape(words[word])}</td>')
    columns = len(table["heads"])
    labels = ["embedding", *(f"after layer {layer}" for layer in range(len(cells) // columns - 1))]
    rows = [
        f'<tr><th scope="row" {_WHITE}>{label}</th>{"".join(cells[row * columns :][:columns])}</tr>'
        for row, label in enumerate(reversed(labels))
    ]
    return (
        f'<p>{table["said"]}</p><div tabindex="0" style="overflow:auto;max-height:34em">'
        f'<table aria-label="{table["said"]}" style="color:black"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


# Numbers are written to base 89: two letters hold a value or the place of one of 7921 answers. The letters are those of
# ASCII that need no escape in JSON and make neither a tag nor an address, nor a number with a decimal point.
_LETTERS = "".join(sorted(set(map(chr, range(32, 127))) - set('"\\/<.`')))
_SWAPPED = str.maketrans("· ", " ·")  # JSON writes the dot that stands for a space with six letters
_LARGEST = (len(_LETTERS) ** 2 - 1) // 2  # values are whole numbers from -3960 to 3960 once they are scaled


@checked
def circuit_view(
    words: list[str],
    answers: list[str],
    circuits: dict[str, tuple[Tensor, Tensor]],
    start: tuple[int, int] = (0, 0),
    marks: Tensor | dict[str, Tensor] | None = None,
) -> HTML:
    """What single heads do between tokens, as lists of words: the best answers of every head to every word.

    words: labels of the tokens to choose from. answers: labels of all tokens that can come out, such as the vocabulary.
    circuits: {name: (values, indices)}, both `(layer, head, word, k)` as torch.topk gives them, best first; indices
    point into answers. A name says what a list holds, such as "OV: what attention to the word raises". start: the
    (layer, head) that is shown first. marks: `(layer, head)` from 0 to 1, such as the share of words that a head
    copies, or {name of a circuit: such a tensor}. A head is white at 0 and green at 1.

    Point at a head to see its answers to all words, and at a word to see its values. A click, a tap or the arrow keys
    choose a head or a word. Bars show values relative to the best of their list, green for the word itself. Where the
    best is below 0, they are orange and show how close to it the others come. A dot marks each head that answers the
    word with itself. Values have the decimals that leave a head's largest one three digits or four. 2 circuits of 48
    heads, 100 words and k = 6 take about 300 kB.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the first circuit of
    the start head alone, for ten words. Raises ArgumentError for other shapes and NaN, indices that point at no answer,
    marks outside of 0 to 1, marks for a circuit that is not there, and a start that is no head.
    """
    marks = marks if isinstance(marks, dict) else {} if marks is None else dict.fromkeys(circuits, marks)
    _check_circuits(words, answers, circuits, start, marks)
    name, (values, indices) = next(iter(circuits.items()))
    _, heads, _, top = values.shape
    rows = zip(words[:10], indices[start].tolist(), values[start].tolist())
    fallback = _circuit_table(
        f"L{start[0]}H{start[1]}, {name} ({min(len(words), 10)} of {len(words)} words, best answers first)",
        [(word, [answers[each] for each in best], numbers) for word, best, numbers in rows],
    )
    used, places = torch.cat([indices.flatten() for _, indices in circuits.values()]).unique(return_inverse=True)
    width = 2 if len(used) <= len(_LETTERS) ** 2 else 3
    drawn = []
    for (name, (values, _)), place in zip(circuits.items(), places.chunk(len(circuits))):
        values = values.cpu().double()  # on the CPU: Apple's GPUs have no float64
        digits = (_LARGEST / values.abs().amax((2, 3), keepdim=True).clamp_min(1e-6)).log10().floor()
        drawn.append(
            {
                "name": name,
                "answers": _packed(place, width),
                "values": _packed((values * 10**digits).round().long() + _LARGEST, 2),
                "digits": digits.long().flatten().tolist(),
                "marks": [round(mark, 3) for mark in marks[name].flatten().tolist()] if name in marks else None,
            }
        )
    view = {
        "words": words,
        "answers": [answers[each].translate(_SWAPPED) for each in used.tolist()],
        "circuits": drawn,
        "letters": _LETTERS,
        "width": width,
        "top": top,
        "heads": heads,
        "start": start[0] * heads + start[1],
    }
    colours = {"above": _MORE, "below": _LESS, "own": _RISE}
    style = "".join(f"--{name}: {str(colour)[1:-1]}; " for name, colour in colours.items())
    side = min(max(250, 27 * heads + 44), 368)  # px: all heads of a layer, if they are 12 or fewer
    style = f"& {{{style}--rows: {top}; --side: {side}px}}{_CIRCUIT}"
    return _card("circuit", "", view, fallback, style, _DRAW_CIRCUIT)


def _check_circuits(words, answers, circuits, start, marks):
    """Raise ArgumentError for what `circuit_view` cannot show."""
    if not circuits:
        raise ArgumentError("circuits is empty. Give at least one: {name: (values, indices)}.")
    shape = next(iter(circuits.values()))[0].shape
    for name, (values, indices) in circuits.items():
        fit = values.shape == indices.shape == shape and len(shape) == 4 and shape[2] == len(words)
        if not fit or not values.is_floating_point() or indices.is_floating_point():
            raise ArgumentError(
                f'"{name}" has values of {tuple(values.shape)}, {values.dtype}, and indices of {tuple(indices.shape)}, '
                f"{indices.dtype}. Give floats and integers of one shape for all circuits: (layer, head, word, k) with "
                f"{len(words)} words, as torch.topk makes them."
            )
        if not indices.numel():
            raise ArgumentError(f'"{name}" has the shape {tuple(shape)}; give at least one head, word and answer.')
        check_finite(**{f'values of "{name}"': values})
        if indices.min() < 0 or indices.max() >= len(answers):
            raise ArgumentError(
                f'The indices of "{name}" go from {indices.min()} to {indices.max()}, but there are {len(answers)} '
                "answers. Give the labels of the whole vocabulary as answers."
            )
    layers, heads = shape[:2]
    if not (0 <= start[0] < layers and 0 <= start[1] < heads):
        raise ArgumentError(f"start is {start}, but there are {layers} layers of {heads} heads, numbered from 0.")
    for name, shares in marks.items():
        if name not in circuits:
            raise ArgumentError(f'marks has "{name}", but the circuits are {", ".join(circuits)}.')
        if shares.shape != shape[:2] or not ((shares >= 0) & (shares <= 1)).all():  # NaN is neither
            raise ArgumentError(
                f"marks must be numbers from 0 to 1, one for every layer and head, of shape {tuple(shape[:2])}. Those "
                f'of "{name}" have the shape {tuple(shares.shape)}, or some lie outside of 0 to 1.'
            )


def _circuit_table(said, rows):
    """A table of circuits as it is without JavaScript, with its colours in the elements. rows: (word, answers,
    values)."""
    heads = "".join(f'<th scope="col" {_WHITE}>{head}</th>' for head in ["word", *range(1, len(rows[0][1]) + 1)])
    lines = []
    for word, answers, values in rows:
        line = f'<th scope="row" {_WHITE}>{html.escape(word)}</th>'
        for answer, value in zip(answers, values):
            best = values[0]
            share = 1 if value == best else value / best if best > 0 else best / value
            shade = _shade(share, _RISE if answer == word else _MORE if value >= 0 else _LESS)
            style = f"background-color:{shade};white-space:nowrap"
            line += f'<td style="{style}" title="{value:.4g}">{html.escape(answer)}</td>'
        lines.append(f"<tr>{line}</tr>")
    said = html.escape(said)
    return (
        f'<p>{said}</p><div tabindex="0" style="overflow:auto"><table aria-label="{said}" style="color:black">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


_NIGHT = (8, 34, 84)
_PLAIN = "background-color:white;color:black;font-family:monospace;font-size:10px;line-height:1.1"
_TRUSTED = "Trust the notebook to get a slider through the training here."


@checked
def training_view(
    tokens: list[str],
    patterns: Float[Tensor, "frame head token token"],
    names: list[str],
    steps: list[int],
    curves: dict[str, list[float | int]],
    start: int = -1,
) -> HTML:
    """How attention patterns form while a model is trained: a slider over the steps, and a button that plays them.

    tokens: a label for every position, as `token_labels` makes them. patterns: `(frame, head, query, key)`, causal
    attention from 0 to 1, measured on one text at some steps of a training. names: one for every head, such as
    "L0H2, previous token". steps: the training step of every frame, each larger than the one before. curves: {what was
    measured, with its unit: a number for every frame}. start: index of the frame that is shown first, from the end when
    it is negative.

    Patterns are darker where there is more attention, on one scale from 0 to 1. Point at a cell, tap it or go there
    with the arrow keys to read its weight. Curves have fixed axes and are drawn up to the frame that is shown. Frames
    lie at equal distances, on the slider and below the curves. Playing takes about six seconds, and six jumps where
    the system asks for less motion. 33 frames of 3 heads and 24 tokens take about 105 kB.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows the patterns of the
    start frame alone. Raises ArgumentError for other shapes, NaN, weights outside of 0 to 1 or above the diagonal,
    lists of other lengths, fewer than two frames, steps that do not increase, and a start that is no frame.

    >>> patterns = torch.tensor([[[[1, 0], [0.5, 0.5]]], [[[1, 0], [0.9, 0.1]]]])
    >>> type(training_view(["a", "b"], patterns, ["L0H0"], [0, 10], {"loss (nats)": [3.5, 1.2]})).__name__
    'HTML'
    """
    _check_training(tokens, patterns, names, steps, curves, start)
    rows, columns = torch.tril_indices(len(tokens), len(tokens))
    levels = (patterns.cpu().double() * (len(_LETTERS) ** 2 - 1)).round().long()
    start %= len(steps)
    colours = _attention_colours()
    view = {
        "tokens": tokens,
        "names": names,
        "steps": steps,
        "even": len(set(np.diff(steps).tolist())) == 1,
        "curves": [_curve(name, values) for name, values in curves.items()],
        "patterns": _packed(levels[..., rows, columns], 2),
        "letters": _LETTERS,
        "colours": colours,
        "start": start,
    }
    shades = [colours[share] for share in (0, 35, 100)]
    style = f"& {{--heads: {len(names)}; --cell: {100 / len(tokens):.4g}%; --digits: {len(str(steps[-1]))}ch; "
    style += f"--colours: {shades[0]}, {shades[1]} 35%, {shades[2]}}}{_TRAINING}"
    fallback = _training_text(f"Attention at training step {steps[start]}", tokens, names, patterns[start], colours)
    return _card("training", "", view, fallback, style, _DRAW_TRAINING)


def _check_training(tokens, patterns, names, steps, curves, start):
    """Raise ArgumentError for what `training_view` cannot show."""
    frames, heads, positions, _ = patterns.shape
    if not patterns.numel() or frames < 2:
        raise ArgumentError(
            f"patterns has the shape {tuple(patterns.shape)}; give at least two frames, a head and a position."
        )
    lengths = {"tokens": (tokens, positions), "names": (names, heads), "steps": (steps, frames)}
    lengths |= {f'the curve "{name}"': (values, frames) for name, values in curves.items()}
    for name, (given, expected) in lengths.items():
        if len(given) != expected:
            raise ArgumentError(
                f"The length of {name} is {len(given)}, but patterns has the shape {tuple(patterns.shape)}: (frame, "
                f"head, query, key). Give {expected}."
            )
    check_finite(patterns=patterns)
    if patterns.min() < 0 or patterns.max() > 1 + 1e-5:  # a softmax may round to a little more
        raise ArgumentError(
            f"patterns goes from {patterns.min():.4g} to {patterns.max():.4g}. Give attention after its softmax, from "
            "0 to 1."
        )
    if patterns.triu(1).any():
        raise ArgumentError("patterns has weights above the diagonal. Give causal attention, with queries as rows.")
    if any(later <= step for step, later in pairwise(steps)):
        raise ArgumentError(f"steps is {steps}. Each must be larger than the one before.")
    for name, values in curves.items():
        if not all(map(math.isfinite, values)):
            raise ArgumentError(f'The curve "{name}" holds NaN or infinity. Give a number for every frame.')
    if not -frames <= start < frames:
        raise ArgumentError(
            f"start is {start}, but there are {frames} frames. Give an index from {-frames} to {frames - 1}."
        )


def _curve(name, values):
    """A curve with the ticks of its axis, and as many decimals as tell a hundredth of the axis apart."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    digits = max(0, 2 - math.floor(math.log10(ticks[-1] - ticks[0])))
    return {
        "name": name,
        "values": [round(value, digits) for value in values],
        "ticks": [round(tick, digits + 1) for tick in ticks.tolist()],
        "digits": digits,
    }


def _attention_colours():
    """A colour for every hundredth of attention. Its lightness falls evenly from white by way of blue."""
    parts = zip((255, 255, 255), _MORE, _NIGHT)
    shades = [np.interp(range(101), [0, 35, 100], part).round().astype(int) for part in parts]
    return [_rgb(colour) for colour in zip(*shades)]


def _training_text(said, tokens, names, patterns, colours):
    """The patterns of a frame as they are without JavaScript: two coloured spaces for a cell, in lines that keep them.
    Neighbours of one colour share an element, because their number decides how large the view is."""
    figures = []
    for name, pattern in zip(names, (5 * (patterns * 20).round().int()).tolist()):
        lines = []
        for query, row in enumerate(pattern):
            shades = [colours[weight] for weight in row[: query + 1]] + ["#eeeeee"] * (len(row) - query - 1)
            runs = [(shade, len(list(run))) for shade, run in groupby(shades)]
            lines.append("".join(f'<span style="background-color:{shade}">{"  " * run}</span>' for shade, run in runs))
        label, body = html.escape(name), "\n".join(lines)
        figures.append(f'<p>{label}</p><pre role="img" aria-label="{label}" style="{_PLAIN}">{body}</pre>')
    text = html.escape(" ".join(tokens))
    said = f"{said}: rows are queries, columns are keys, darker is more. Text: {text}"
    return f"<p>{said}</p>{''.join(figures)}<p>{_TRUSTED}</p>"


class Context(NamedTuple):
    """A short piece of text around one token at which a unit of a model fires.

    tokens: labels, as `token_labels` makes them. values: the unit's activation at each of them. at: the index of the
    token in question.
    """

    tokens: list[str]
    values: list[float]
    at: int


class Unit(NamedTuple):
    """A unit of a model, such as a neuron: what kind of unit it is, and its contexts under one heading or more."""

    kind: str
    contexts: dict[str, list[Context]]


@checked
def contexts_view(contexts: list[Context] | dict[str, list[Context]], title: str | None = None) -> HTML:
    """Texts around the tokens at which a unit fires, one a row, coloured by its activation.

    contexts: a list of Context, or {heading: such a list}, such as "strongest" and "drawn at random". A token is white
    at 0 and blue at the largest activation of all rows. Negative activations count as 0. The token in question is bold
    and underlined, and its activation, with three decimals, stands at the end of the row. Point at another token to
    read its own. The dot of a label that begins with one is shown as a space.

    On a wide page the rows are aligned at the token in question, as in a concordance; on a narrow one they wrap. The
    view is HTML without JavaScript, so a notebook that is not trusted shows it too. 16 rows of 17 tokens take about
    10 kB. Raises ArgumentError for empty lists, tokens and values of unequal number, an `at` outside of the tokens, and
    NaN.

    >>> contexts = [Context(["the", "·old", "·king", "·slept"], [0, 0, 2.5, 0.1], at=2)]
    >>> type(contexts_view({"strongest": contexts}, title="a unit for kings")).__name__
    'HTML'
    """
    groups = contexts if isinstance(contexts, dict) else {"": contexts}
    _check_contexts(groups)
    largest = _largest(groups)
    body = f"<p><b>{html.escape(title)}</b></p>" if title else ""
    body += _legend(f"{largest:.3f}, the largest activation") + _concordance(groups, largest, title or "contexts")
    name = f"contexts-{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    return HTML(f'<div data-view="{name}" style="{_CARD}">{body}</div>\n{_style(name, _CONTEXTS)}')


def _legend(blue):
    return f"<p><small>White is 0, and blue is {blue}. The number of a row belongs to the token in bold.</small></p>"


_QUESTION = "Read the texts. Would you know where this unit fires next?"


@checked
def blind_view(units: list[Unit]) -> HTML:
    """A test that the reader takes: which units seem to have one meaning, when nobody says what kind of unit they are?

    units: a list of Unit in the order in which they are shown: shuffle them first. The reader sees the contexts of one
    unit at a time, as `contexts_view` draws them, and answers "one meaning" or "no single meaning". Activations are
    divided by the largest of their unit, because their size could give the kind away. The next unit follows by itself,
    and answers can be changed until the last one is given. Then a table says how many units of each kind were called
    "one meaning", and all units can be looked at again with their kinds. Nothing is stored or sent.

    The view needs no `views_loader`. A notebook that is not trusted runs no JavaScript and shows all units beneath each
    other, each with its kind in a line that opens. 12 units of 8 rows of 17 tokens take 60 to 70 kB. Raises
    ArgumentError for an empty list and for contexts that `contexts_view` refuses.

    >>> contexts = {"strongest": [Context(["the", "·old", "·king"], [0, 0, 2.5], at=2)]}
    >>> type(blind_view([Unit("neuron", contexts), Unit("feature", contexts)])).__name__
    'HTML'
    """
    if not units:
        raise ArgumentError("units is empty. Give at least one Unit.")
    parts = []
    for number, (kind, contexts) in enumerate(units, start=1):
        _check_contexts(contexts, f" of unit {number}")
        largest = _largest(contexts) or 1
        shares = {
            heading: [Context(tokens, [value / largest for value in values], at) for tokens, values, at in rows]
            for heading, rows in contexts.items()
        }
        label = f"Unit {number} of {len(units)}"
        parts.append(
            f'<div role="group" aria-label="{label}" style="margin-bottom:2em"><p><b>{label}</b></p>'
            f"{_concordance(shares, 1, 'contexts')}"
            f"<details><summary>The kind of this unit</summary>{html.escape(kind)}</details></div>"
        )
    fallback = f"<p>{_QUESTION}</p>" + _legend("the unit's largest activation, which counts as 1")
    fallback += f"<div>{''.join(parts)}</div><p>Trust the notebook to answer here.</p>"
    view = {"kinds": [kind for kind, _ in units]}
    return _card("blind", "", view, fallback, _CONTEXTS + _BLIND, _DRAW_BLIND)


def _check_contexts(groups, owner=""):
    """Raise ArgumentError for groups of contexts that cannot be shown. owner: whose they are, for the error."""
    if not groups:
        raise ArgumentError(f"The contexts{owner} are empty. Give at least one list of Context.")
    for heading, rows in groups.items():
        name = f'the contexts "{heading}"{owner}' if heading else f"the contexts{owner}"
        if not rows:
            raise ArgumentError(f"There are no rows in {name}. Give at least one Context.")
        for number, (tokens, values, at) in enumerate(rows):
            row = f"Row {number} of {name}"
            if len(tokens) != len(values):
                raise ArgumentError(f"{row} has {len(tokens)} tokens, but {len(values)} values. Give each token one.")
            if not 0 <= at < len(tokens):
                raise ArgumentError(f"{row} has at={at}, but its {len(tokens)} tokens are numbered from 0.")
            if not all(map(math.isfinite, values)):
                raise ArgumentError(f"{row} holds NaN or infinity. Give a number for every token.")


def _largest(groups):
    """The largest activation of all rows, 0 if none is above it."""
    return max(0, *(value for rows in groups.values() for context in rows for value in context.values))


def _concordance(groups, largest, label):
    """Groups of contexts as lists. Styles in the elements are for notebooks that are not trusted, which have no others.
    label: the name of a list that has no heading."""
    return "".join(
        (f"<p>{html.escape(heading)}</p>" if heading else "")
        + f'<ol role="list" aria-label="{html.escape(heading or label)}" style="{_ROWS}">'
        + "".join(_row(*context, largest) for context in rows)
        + "</ol>"
        for heading, rows in groups.items()
    )


_ROWS = "list-style:none;padding:0;white-space:pre-wrap"
_BEFORE = "display:inline-block;width:60%;text-align:right"


def _row(tokens, values, at, largest):
    """A context as an element of a list: what comes before its token, the token and what follows, its value."""
    texts = [" " + token[1:] if token.startswith("·") else token for token in tokens]
    values = [max(0, round(value, 3)) for value in values]
    before = _coloured(texts[:at], values[:at], largest).removeprefix(" ")
    token = _coloured(texts[at : at + 1], values[at : at + 1], largest, "b")
    after = _coloured(texts[at + 1 :], values[at + 1 :], largest)
    return (
        f'<li><span style="{_BEFORE}">{before}</span><span>{token}{after}</span><small> {values[at]:.3f}</small></li>'
    )


def _coloured(texts, values, largest, tag="span"):
    """Tokens with their colours and values. Neighbours of one value share an element, because their number decides how
    large the view is. A space before a word stays outside of it, and so without a line below it."""
    parts = []
    for value, run in groupby(zip(texts, values), key=lambda pair: pair[1]):
        text = "".join(text for text, _ in run)
        space = " " if len(text) > 1 and text.startswith(" ") else ""
        word = html.escape(text.removeprefix(space))
        word = f"<u>{word}</u>" if tag == "b" else word
        style = f' style="background-color:{_shade(value / largest, _MORE)}"' if value else ""
        parts.append(f'{space}<{tag}{style} title="{value:.3f}">{word}</{tag}>')
    return "".join(parts)


def _packed(numbers, width):
    """Whole numbers as text, `width` letters for each."""
    powers = len(_LETTERS) ** np.arange(width)[::-1]
    places = numbers.cpu().numpy().reshape(-1, 1) // powers % len(_LETTERS)
    return np.frombuffer(_LETTERS.encode(), np.uint8)[places].tobytes().decode()


def _as_text(token):
    """CircuitsVis takes the tokens of a text for HTML. Behind a word joiner, which has no width, "<" and "&" begin
    neither a tag nor an entity."""
    return re.sub("[<&]", "\\g<0>\u2060", token)


def _rgb(colour):
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _shade(share, colour):
    """A colour mixed with white: white at 0 and below, the colour itself at 1 and above."""
    share = min(max(share, 0), 1)
    return _rgb([round(255 + share * (part - 255)) for part in colour])


def _text(tokens, shades, titles):
    """The text with a colour behind every token. Lines may break between tokens."""
    return "<wbr>".join(
        f'<span style="background-color:{shade}" title="{html.escape(str(title))}">{html.escape(token)}</span>'
        for token, shade, title in zip(tokens, shades, titles)
    )


def views_loader():
    """The JavaScript that draws the views of a page: CircuitsVis's bundle from the installed package, compressed to
    480 kB. It shows nothing, and once a page is enough. Browsers unpack it since Chrome 85 and Safari 16.4."""
    bundle = resources.files("circuitsvis").joinpath("dist/cdn/iife.js").read_bytes()
    packed = base64.b64encode(zlib.compress(bundle, 9)).decode()  # zlib's header, unlike gzip's, holds no time
    return HTML(f'<script>(async (packed) => {{{_PAGE}{_KEYS}{_LOAD}}})("{packed}")</script>')
