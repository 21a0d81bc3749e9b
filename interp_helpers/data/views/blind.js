/* After an answer comes the next unit without one, and after the last answer the result. From then on, kinds are known
and answers stay. Where the number of the unit has been scrolled out of sight, it comes back with the next unit. A
button that cannot act keeps the focus. JupyterLab would take the keys of buttons for its own. */
const {kinds} = view;
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
    said.textContent = !shown ? "Units that you called “one meaning”, for every kind" :
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
