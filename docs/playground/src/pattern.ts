/** The attention pattern of one head, as a matrix that the pointer and the keyboard can read. */

import { h } from "./dom";

/** A pattern `(query, key)` in one row, with a label for each token, and the query that is looked at. */
export interface Pattern {
  name: string; // of the head
  labels: string[];
  shares: ArrayLike<number>;
  position: number;
}

type Context = CanvasRenderingContext2D;
type Palette = (name: string) => string; // the page's colours, by the names of their properties

interface Cell {
  query: number;
  key: number;
}

/** Where the matrix stands, in CSS pixels: a cell's side, and the room for labels at the left of it and below. */
interface Grid {
  cell: number;
  margin: number;
}

const FONT = 12; // pixels; a label takes one more
const TOP = 8; // pixels above the matrix, for the upper half of its first label
const LONGEST = 12; // characters of a label
const LARGEST = 44; // pixels, of a cell
const HINT = "Point at a cell, or use the arrow keys. A click or Enter chooses the token of its row.";

/** A square of `width` pixels for `length` tokens. Cells have whole pixels of the screen, so that they are crisp. */
function gridOf(width: number, length: number, ratio: number): Grid {
  const margin = Math.round(Math.min(84, 0.2 * width) * ratio) / ratio;
  const cell = Math.max(1, Math.floor(((width - margin - TOP) / length) * ratio)) / ratio;
  return { margin, cell: Math.min(LARGEST, cell) };
}

/** A matrix in `root`. choose: called with the query of a cell that was clicked. Returns what draws a pattern. */
export function matrix(root: HTMLElement, choose: (query: number) => void): (pattern: Pattern) => void {
  const canvas = h("canvas", { class: "pattern", role: "application", tabindex: 0 });
  const line = h("p", { class: "note spoken", "aria-live": "polite" }, HINT);
  let pattern: Pattern | null = null;
  let cursor: Cell | null = null;
  root.append(line, canvas);

  const draw = () => {
    if (pattern && canvas.clientWidth) drawMatrix(canvas, pattern, cursor);
  };

  function say() {
    const text = pattern && cursor ? sentence(pattern, cursor) : HINT;
    if (line.textContent !== text) line.textContent = text; // or a screen reader would say it again
  }

  function point(cell: Cell | null) {
    if (cell?.query === cursor?.query && cell?.key === cursor?.key) return;
    cursor = cell;
    say();
    draw();
  }

  function under(event: PointerEvent | MouseEvent): Cell | null {
    if (!pattern) return null;
    const { cell, margin } = gridOf(canvas.clientWidth, pattern.labels.length, devicePixelRatio);
    const [query, key] = [event.offsetY - TOP, event.offsetX - margin].map((each) => Math.floor(each / cell));
    const within = (index: number) => index >= 0 && index < pattern!.labels.length;
    return within(query) && within(key) ? { query, key } : null;
  }

  canvas.addEventListener("pointermove", (event) => point(under(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("blur", () => point(null));
  canvas.addEventListener("click", (event) => {
    const cell = under(event);
    if (cell) choose(cell.query);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!pattern) return;
    if (event.key === "Enter" && cursor) choose(cursor.query);
    const moved = walked(cursor ?? strongest(pattern), event.key, pattern.labels.length);
    if (!moved) return;
    event.preventDefault();
    point(cursor ? moved : strongest(pattern)); // the first key only shows where one is
  });
  new ResizeObserver(draw).observe(canvas);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  return (given) => {
    pattern = given;
    const last = given.labels.length - 1;
    if (cursor) cursor = { query: Math.min(cursor.query, last), key: Math.min(cursor.key, last) };
    say();
    const keys = "The arrow keys walk through queries and keys.";
    canvas.setAttribute("aria-label", `Attention pattern of ${given.name}. ${keys}`);
    draw();
  };
}

/** The cell that an arrow key leads to; null for other keys. */
function walked({ query, key }: Cell, pressed: string, length: number): Cell | null {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[pressed];
  if (!step) return null;
  const kept = (index: number) => Math.max(0, Math.min(length - 1, index));
  return { query: kept(query + step[0]), key: kept(key + step[1]) };
}

function shareAt({ shares, labels }: Pattern, { query, key }: Cell): number {
  return shares[query * labels.length + key];
}

/** What the query that is looked at reads most. */
function strongest(pattern: Pattern): Cell {
  let best = { query: pattern.position, key: 0 };
  for (let key = 1; key <= pattern.position; key++) {
    const cell = { query: pattern.position, key };
    if (shareAt(pattern, cell) > shareAt(pattern, best)) best = cell;
  }
  return best;
}

function sentence(pattern: Pattern, cell: Cell): string {
  const [query, key] = [pattern.labels[cell.query], pattern.labels[cell.key]];
  if (cell.key > cell.query) return `${query} cannot read from ${key}, which comes later.`;
  return `${query} reads ${shareAt(pattern, cell).toFixed(2)} from ${cell.key === cell.query ? "itself" : key}.`;
}

function drawMatrix(canvas: HTMLCanvasElement, pattern: Pattern, cursor: Cell | null) {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  const style = getComputedStyle(canvas);
  const colour: Palette = (name) => style.getPropertyValue(name);
  const grid = gridOf(width, pattern.labels.length, ratio);
  canvas.width = canvas.height = Math.round(width * ratio); // which clears it, too
  const context = canvas.getContext("2d")!;
  context.scale(ratio, ratio);
  context.translate(grid.margin, TOP);
  context.font = `${FONT}px ${style.fontFamily}`;
  drawCells(context, pattern, grid, colour);
  drawFrames(context, pattern, grid, cursor, colour);
  drawLabels(context, pattern, grid, cursor, colour);
}

/** A share of the colour for a share of attention. What comes later than a query is grey. */
function drawCells(context: Context, { labels, shares }: Pattern, { cell }: Grid, colour: Palette) {
  const length = labels.length;
  const side = cell < 6 ? cell : cell - 1; // a gap, where there is room for one
  context.fillStyle = colour("--card");
  for (let query = 0; query < length - 1; query++)
    context.fillRect((query + 1) * cell, query * cell, (length - query - 1) * cell, cell);
  context.fillStyle = `rgb(${colour("--blue")})`;
  for (let query = 0; query < length; query++) {
    for (let key = 0; key <= query; key++) {
      context.globalAlpha = shares[query * length + key];
      context.fillRect(key * cell, query * cell, side, side);
    }
  }
  context.globalAlpha = 1;
}

/** Frames around what can be seen of the row that is looked at, around the whole, and around the cell of the cursor. */
function drawFrames(
  context: Context, { labels, position }: Pattern, { cell }: Grid, cursor: Cell | null, colour: Palette,
) {
  context.lineWidth = 1.5;
  context.strokeStyle = colour("--ink");
  context.strokeRect(0, position * cell, (position + 1) * cell, cell);
  context.lineWidth = 0.5;
  context.strokeRect(0, 0, labels.length * cell, labels.length * cell);
  if (!cursor) return;
  context.lineWidth = 2;
  context.strokeStyle = `rgb(${colour("--orange")})`;
  context.strokeRect(cursor.key * cell - 1, cursor.query * cell - 1, cell + 2, cell + 2);
}

/** Labels of queries at the left and of keys below: as many as have room, and those that are looked at before all. */
function drawLabels(
  context: Context, { labels, position }: Pattern, { cell, margin }: Grid, cursor: Cell | null, colour: Palette,
) {
  const apart = Math.ceil((FONT + 1) / cell);
  const bottom = labels.length * cell;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const write = (index: number, strong: boolean, below: boolean) => {
    context.save();
    if (below) {
      context.translate((index + 0.5) * cell, bottom + 5);
      context.rotate(-Math.PI / 2);
    } else context.translate(-5, (index + 0.5) * cell);
    context.fillStyle = colour(strong ? "--ink" : "--muted");
    context.fillText(shortened(labels[index]), 0, 0, margin - 5);
    context.restore();
  };
  const side = (looked: number[], below: boolean) => {
    const written: number[] = [];
    const fits = (index: number) => written.every((other) => Math.abs(other - index) >= apart);
    for (const index of looked) {
      if (fits(index)) written.push(index), write(index, true, below);
    }
    for (let index = 0; index < labels.length; index += apart) if (fits(index)) write(index, false, below);
  };
  side(cursor ? [cursor.query, position] : [position], false);
  side(cursor ? [cursor.key, position] : [position], true);
}

function shortened(label: string): string {
  const characters = [...label];
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join("")}…` : label;
}
