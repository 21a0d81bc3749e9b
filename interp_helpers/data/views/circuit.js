/* Pointing shows a head or a word. A click, a tap or the keyboard chooses it, and the chosen one is shown again when the
mouse leaves. The tab key reaches the chosen head and the chosen word alone, and arrow keys go on from there. */
const {words, answers, circuits, letters, width, top, heads, start} = view;
const labels = circuits[0].digits.map((_, head) => `L${Math.floor(head / heads)}H${head % heads}`);
const texts = answers.map((text) => text.replace(/[ \u00b7]/g, (letter) => (letter === " " ? "\u00b7" : " ")));
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
  add(plan, "p", "\u2022 has the word itself among its answers");
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
      cell.textContent = read(circuit, head, word).some(({own}) => own) ? "\u2022" : "";
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
