/* A click, a tap or the keyboard chooses a cell; the last one of the top row is chosen first, and the table scrolls to
it. The panel shows the chosen cell again as soon as the mouse leaves the table, so that nothing changes when the
mouse crosses other cells on its way to the buttons. Arrow keys have no other effect: JupyterLab would leave the view. */
const {words, tables} = view;
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
    const token = head.textContent.replace("\n", " / ");
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
