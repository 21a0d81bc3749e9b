/** Small helpers for the page: elements, grids that the keyboard can walk, and tables behind drawings. */

type Attributes = Record<string, string | number | boolean | null | ((event: any) => void)>;

/** An element. An attribute that is a function listens to the event of its name; false and null leave one out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Node | string | null)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((each) => each !== null));
  return element;
}

/**
 * Walk the buttons of a container with the arrow keys: Tab reaches one of them, the arrows the rest, Home and End the
 * first and the last of a row. columns: how many stand in a row; 0 for one row that goes on over lines.
 */
export function walkable(container: HTMLElement, columns: () => number) {
  const buttons = () => [...container.querySelectorAll<HTMLElement>("[data-walk]")];
  container.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement as HTMLElement);
    if (at < 0) return;
    const width = columns() || all.length;
    const row = at - (at % width);
    const target = {
      ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - width, ArrowDown: at + width, Home: row,
      End: Math.min(row + width, all.length) - 1,
    }[event.key]; // prettier-ignore
    if (target === undefined) return;
    event.preventDefault();
    all[target]?.focus();
  });
  container.addEventListener("focusin", (event) => {
    const chosen = (event.target as HTMLElement).closest<HTMLElement>("[data-walk]");
    if (chosen) for (const button of buttons()) button.tabIndex = button === chosen ? 0 : -1;
  });
}

/** After the buttons of a `walkable` container were drawn anew: exactly one of them can be reached with Tab. */
export function reachable(container: HTMLElement, preferred = 0) {
  const buttons = container.querySelectorAll<HTMLElement>("[data-walk]");
  buttons.forEach((button, i) => (button.tabIndex = i === Math.min(preferred, buttons.length - 1) ? 0 : -1));
}

export interface Table {
  head: string[];
  rows: (string | number)[][]; // the first of a row names it
}

/**
 * What a drawing shows, as a table that can be opened below it, for those who cannot see it. Returns a function that
 * takes the table's maker: it is called when the table is open.
 */
export function tableBehind(root: HTMLElement, caption: string): (make: () => Table) => void {
  let latest: (() => Table) | null = null;
  const place = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": caption });
  const details = h("details", { class: "behind", toggle: () => draw() }, h("summary", {}, `As a table: ${caption}`), place);
  const draw = () => {
    if (!details.open || !latest) return;
    const { head, rows } = latest();
    const line = (row: (string | number)[]) =>
      h("tr", {}, ...row.map((each, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, String(each))));
    place.replaceChildren(
      h("table", {},
        h("thead", {}, h("tr", {}, ...head.map((each) => h("th", { scope: "col" }, each)))),
        h("tbody", {}, ...rows.map(line)),
      ),
    ); // prettier-ignore
  };
  root.append(details);
  return (make) => {
    latest = make;
    draw();
  };
}

/** Write a text where it is another one: what is read out is not read out again. */
export function say(element: HTMLElement, text: string) {
  if (element.textContent !== text) element.textContent = text;
}

/** A link to a page of the course; words alone where the playground lies without it. */
export function courseLink(path: string, words: string): HTMLElement {
  return "alone" in document.documentElement.dataset ? h("span", {}, words) : h("a", { href: `../${path}` }, words);
}

/** A probability as people read it: 43 %, 0.4 %, < 0.1 %. */
export function percent(p: number): string {
  if (p < 0.001) return "<\u00a00.1\u00a0%"; // spaces at which no line breaks
  return p < 0.0995 ? `${(100 * p).toFixed(1)}\u00a0%` : `${Math.round(100 * p)}\u00a0%`;
}

/** A number with a sign that can be told from a hyphen. */
export function signed(value: number, digits = 2): string {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}
