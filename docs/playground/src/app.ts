/** From what a reader has chosen to what the model says about it: every view draws the Scene that is made here. */

import { RANDOM, type Changes, type Models, type Run } from "./model";
import { losses } from "./measures";
import { initial, parsed, written, type State } from "./state";
import type { Vocabulary } from "./text";

export interface Token {
  id: number;
  label: string;
  loss: number | null; // nats; null for the first token
  before: number | null; // the loss without changes
}

export interface Scene {
  state: State;
  tokens: Token[]; // one or more
  cut: number; // how many tokens were left out at the beginning
  position: number; // of the token that is looked at
  intact: Run; // without changes
  run: Run; // with them; the same as intact where there are none
  other: { tokens: Token[]; run: Run } | null; // the second text, where it is needed
}

const ADDRESS = 250; // milliseconds after a change, at most, the address says it

type Listener<T> = (given: T) => void;

/** Whether anything is changed. Cells count only where there is a second text to take them from. */
export function isChanged({ off, cells, steer, other }: State): boolean {
  return off.length > 0 || (cells.length > 0 && other !== "") || steer !== null;
}

export function cellsOf(state: State): Changes["cells"] {
  return state.cells.map((cell) => {
    const [depth, position] = cell.split(".").map(Number);
    return { depth, position };
  });
}

export class App {
  readonly start: State;
  state: State;
  scene: Scene | null = null;
  private runs = new Map<string, Promise<Run>>();
  private busy = false;
  private sceneListeners: Listener<Scene | null>[] = [];
  private stateListeners: Listener<State>[] = [];
  private hoverListeners: Listener<number | null>[] = [];
  private idle: (() => void)[] = [];
  private timer = 0; // of what is yet to be written into the address

  constructor(readonly models: Models, readonly vocabulary: Vocabulary) {
    this.start = initial(models.course.pair);
    this.state = this.start;
  }

  /** The state of an address, without what the model does not have. */
  read(hash: string): State {
    const state = parsed(hash, this.start);
    const known = state.steer !== null && Object.hasOwn(this.models.course.groups, state.steer.replace(RANDOM, ""));
    return { ...state, steer: known ? state.steer : null };
  }

  /** Called with every new scene; null when there is no token. */
  onScene(listener: Listener<Scene | null>) {
    this.sceneListeners.push(listener);
  }

  /** Called as soon as something is chosen, before the model has answered. */
  onState(listener: Listener<State>) {
    this.stateListeners.push(listener);
    listener(this.state);
  }

  /** Called with the place of the token under the pointer or the focus; null when there is none. */
  onHover(listener: Listener<number | null>) {
    this.hoverListeners.push(listener);
  }

  hover(position: number | null) {
    for (const listener of this.hoverListeners) listener(position);
  }

  set(change: Partial<State>) {
    this.replace({ ...this.state, ...("text" in change ? { ids: null } : {}), ...change });
  }

  /** Take another state. It goes into the address, so that a link leads to it. */
  replace(state: State) {
    this.state = state;
    this.timer ||= window.setTimeout(() => this.address(), ADDRESS);
    for (const listener of this.stateListeners) listener(state);
    void this.refresh();
  }

  /** Write the state into the address. Browsers refuse to do so many times a second. */
  address(): string {
    clearTimeout(this.timer);
    this.timer = 0;
    const hash = written(this.state, this.start);
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    return location.href;
  }

  /** Take the tokens that the model has written as they are: its text may have shorter ones. */
  append(id: number) {
    const ids = [...this.tokens(this.state), id];
    const text = this.vocabulary.decode(ids);
    const same = this.vocabulary.encode(text).join() === ids.join();
    this.replace({ ...this.state, text, ids: same ? null : ids, token: null });
  }

  /** The tokens of a state's text. */
  tokens({ text, ids }: Pick<State, "text" | "ids">): number[] {
    return ids && this.vocabulary.decode(ids) === text ? ids : this.vocabulary.encode(text);
  }

  /** Resolves when the scene is that of the present state. */
  settled(): Promise<void> {
    return this.busy ? new Promise((done) => this.idle.push(done)) : Promise.resolve();
  }

  /** Compute until the scene is that of the present state; what was typed in between is left out. */
  async refresh() {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let state = null as State | null; state !== this.state; ) {
        state = this.state;
        try {
          this.scene = await this.compute(state);
        } catch (problem) {
          if (state === this.state) throw problem; // another one is waiting, and may go well
          continue;
        }
        if (state === this.state) for (const listener of this.sceneListeners) listener(this.scene);
      }
    } finally {
      this.busy = false;
      for (const done of this.idle.splice(0)) done();
    }
  }

  /** A run, remembered with the few that were asked for last. */
  private remembered(state: State, ids: number[], changes: Changes | null, about = ""): Promise<Run> {
    const key = JSON.stringify([state.model, ids, changes && { ...changes, source: about }]);
    const known = this.runs.get(key) ?? this.models.run(state.model, ids, changes);
    this.runs.delete(key); // the last one asked for goes to the end
    this.runs.set(key, known);
    known.catch(() => this.runs.delete(key)); // it may go well the next time
    if (this.runs.size > 6) this.runs.delete(this.runs.keys().next().value!);
    return known;
  }

  async compute(state: State): Promise<Scene | null> {
    const all = this.tokens(state);
    const ids = all.slice(-this.models.context);
    if (!ids.length) return null;
    const intact = await this.remembered(state, ids, null);
    const needed = state.other && (state.cells.length || state.view === "patch");
    const otherIds = needed ? this.vocabulary.encode(state.other).slice(-this.models.context) : [];
    const source = otherIds.length ? await this.remembered(state, otherIds, null) : null;
    let run = intact;
    if (isChanged(state)) {
      const cells = source ? cellsOf(state) : [];
      const changes = { off: state.off, by: state.by, cells, source, steer: state.steer, dose: state.dose };
      run = await this.remembered(state, ids, changes, otherIds.join());
    }
    return {
      state, intact, run,
      tokens: this.labelled(ids, run, intact),
      cut: all.length - ids.length,
      position: Math.min(state.token ?? Infinity, ids.length - 1),
      other: source && { tokens: this.labelled(otherIds, source, source), run: source },
    }; // prettier-ignore
  }

  private labelled(ids: number[], run: Run, intact: Run): Token[] {
    const labels = this.vocabulary.labels(ids);
    const after = losses(run, ids);
    const before = run === intact ? after : losses(intact, ids);
    return ids.map((id, i) => ({ id, label: labels[i], loss: after[i], before: before[i] }));
  }
}
