/** A grid of the residual stream's places: a column for each position, a row for each depth, the last depth on top. */

import { h, reachable, walkable } from "./dom";

export interface Place {
  depth: number;
  position: number;
}

/** What stands above a column: a token, and below it another one or nothing. */
export interface Head {
  label: string;
  other: string;
  title: string;
}

export interface Cell {
  text: string; // cut where it is too long
  name: string; // for those who cannot see it
  share: number; // of the colour, from -1 (orange) to 1 (blue)
  kind?: string; // more classes
  pressed?: boolean; // only where a cell can be pressed
  closed?: boolean; // whether there is nothing to press here
}

export interface Drawing {
  heads: Head[];
  inView: number; // the position that is scrolled to when it is a new one
  outlined: boolean; // whether it gets a frame
  cell: (place: Place) => Cell;
  describe: (place: Place | null) => Node[]; // what the box below the grid says about a cell, or while there is none
}

/** A depth in words: depth 0 is before layer 0, and the last one is after the last layer. */
export function depthName(depth: number, layers: number): string {
  return depth < layers ? `before layer ${depth}` : `after layer ${layers - 1}`;
}

const MANY = 40; // columns, of which a screen does not show all

export class Grid {
  private buttons: HTMLButtonElement[][]; // (depth, position)
  private heads: HTMLTableCellElement[] = [];
  private headRow = h("tr", {}, h("td"));
  private rows: HTMLTableRowElement[]; // by depth
  private table: HTMLTableElement;
  private scroller: HTMLElement;
  private box = h("div", { class: "box" });
  private drawing: Drawing | null = null;
  private pointed: Place | null = null; // the cell that the box tells about
  private scrolledTo = "";

  constructor(root: HTMLElement, caption: string, layers: number, pick: (place: Place) => void) {
    const depths = Array.from({ length: layers + 1 }, (_, depth) => depth);
    this.buttons = depths.map(() => []);
    this.rows = depths.map((depth) => h("tr", {}, h("th", { scope: "row" }, depthName(depth, layers))));
    const body = h("tbody", {}, ...this.rows.toReversed());
    this.table = h("table", { "aria-label": caption }, h("thead", {}, this.headRow), body);
    this.scroller = h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": caption }, this.table);
    root.append(h("div", { class: "grid" }, this.scroller, this.box));
    walkable(body, () => this.heads.length);
    body.addEventListener("click", (event) => {
      const place = this.placeOf(event);
      if (place && this.drawing && !this.drawing.cell(place).closed) pick(place);
    });
    for (const kind of ["pointerover", "focusin"])
      body.addEventListener(kind, (event) => this.point(this.placeOf(event) ?? this.pointed));
  }

  draw(drawing: Drawing) {
    const labels = (given: Drawing | null) => JSON.stringify(given?.heads);
    if (labels(drawing) !== labels(this.drawing)) this.pointed = null; // another text
    this.drawing = drawing;
    this.resize(drawing.heads.length);
    drawing.heads.forEach((head, position) => this.drawHead(head, position));
    this.buttons.forEach((row, depth) => row.forEach((_, position) => this.drawCell({ depth, position })));
    this.point(this.pointed);
    this.scrollTo(drawing.inView);
  }

  /** Draw one cell anew, of which something else is known now. */
  paint(place: Place) {
    this.drawCell(place);
    if (place.depth === this.pointed?.depth && place.position === this.pointed.position) this.point(place);
  }

  /** Add columns or take the last ones away, so that all others stay the elements that they are. */
  private resize(positions: number) {
    if (positions === this.heads.length) return;
    while (this.heads.length > positions) {
      this.heads.pop()!.remove();
      for (const row of this.buttons) row.pop()!.parentElement!.remove();
    }
    while (this.heads.length < positions) {
      const head = h("th", { scope: "col" }, h("span"), h("span", { class: "other" }));
      this.headRow.append(head);
      this.heads.push(head);
      this.rows.forEach((row, depth) => {
        const button = h("button", { type: "button", "data-walk": true });
        row.append(h("td", {}, button));
        this.buttons[depth].push(button);
      });
    }
    this.table.classList.toggle("many", positions > MANY);
    reachable(this.scroller, positions - 1); // the last of the top row
  }

  private drawHead({ label, other, title }: Head, position: number) {
    const head = this.heads[position];
    head.children[0].textContent = label;
    head.children[1].textContent = other;
    head.title = title;
    const outlined = this.drawing!.outlined && position === this.drawing!.inView;
    for (const cell of [head, ...this.buttons.map((row) => row[position].parentElement!)])
      cell.classList.toggle("outlined", outlined);
  }

  private drawCell(place: Place) {
    const { text, name, share, kind, pressed, closed } = this.drawing!.cell(place);
    const button = this.buttons[place.depth][place.position];
    button.textContent = text;
    button.ariaLabel = name;
    button.className = `${share < 0 ? "against" : ""} ${kind ?? ""}`;
    button.style.setProperty("--share", String(Math.min(1, Math.abs(share))));
    button.ariaPressed = pressed === undefined ? null : String(pressed);
    button.ariaDisabled = closed ? "true" : null;
  }

  /** The place of the button that an event has happened to. */
  private placeOf({ target }: Event): Place | null {
    const cell = (target as Element).closest("button")?.parentElement as HTMLTableCellElement | undefined;
    if (!cell) return null;
    const row = cell.parentElement as HTMLTableRowElement;
    return { depth: this.rows.length - row.rowIndex, position: cell.cellIndex - 1 };
  }

  /** Tell in the box about a cell. It is read out only when the reader has gone to one. */
  private point(place: Place | null) {
    if (!this.drawing) return;
    this.pointed = place;
    this.box.ariaLive = place ? "polite" : "off";
    this.box.replaceChildren(...this.drawing.describe(place));
  }

  /** Scroll a column into view, unless the reader has scrolled since it was last asked for. */
  private scrollTo(position: number) {
    const asked = `${position} of ${this.heads.length}`;
    if (asked === this.scrolledTo) return;
    this.scrolledTo = asked;
    const { offsetLeft, offsetWidth } = this.heads[position];
    const { scrollLeft, clientWidth } = this.scroller;
    const labels = (this.headRow.firstElementChild as HTMLElement).offsetWidth; // they cover what is below them
    const leftmost = offsetLeft - labels;
    const rightmost = offsetLeft + offsetWidth - clientWidth;
    this.scroller.scrollLeft = Math.min(leftmost, Math.max(rightmost, scrollLeft));
  }
}
