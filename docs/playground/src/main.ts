/** The page: it puts the views in their places and starts the model. */

import { App, type Scene } from "./app";
import { breaking } from "./break";
import { changes } from "./changes";
import type { Course } from "./course";
import { depth } from "./depth";
import { courseLink, h } from "./dom";
import { unpack } from "./files";
import { heads } from "./heads";
import { Models } from "./model";
import { next } from "./next";
import { patch } from "./patch";
import { reading } from "./reading";
import type { State, ViewName } from "./state";
import { steer } from "./steer";
import { arrival, cards, storyteller } from "./stories";
import { Vocabulary } from "./text";
import { tokens } from "./tokens";

/** A view builds what stays in its place once, and returns what draws a scene. */
export type View = (root: HTMLElement, app: App) => (scene: Scene) => void;

const TABS: [ViewName, string, View][] = [
  ["next", "Start", begin],
  ["heads", "Heads", heads],
  ["depth", "Depth", depth],
  ["break", "Break it", breaking],
  ["patch", "Patch it", patch],
  ["steer", "Steer it", steer],
];

const place = (id: string) => document.getElementById(id)!;

function begin(root: HTMLElement, app: App): (scene: Scene) => void {
  root.append(
    h("p", {}, "This is storybook, a small language model, running in your browser. Type a text, and see what it expects next. " +
      "Nothing that you type is sent anywhere. It stands in the page's address, and so in your browser's history."),
    h("p", {}, "The other tabs show what its attention heads look at, and what it would say at each depth. " +
      "You can switch parts off, move its inner state from one text to another, and push it in a direction."),
    h("h2", {}, "Five stories to begin with"), cards(app),
  ); // prettier-ignore
  return () => {};
}

/** The tabs, of which one panel is seen. Returns what draws a scene in that panel. */
function tabs(app: App): (scene: Scene) => void {
  const list = place("tabs");
  const draws = new Map<ViewName, (scene: Scene) => void>();
  const parts = new Map<ViewName, { tab: HTMLElement; panel: HTMLElement }>();
  for (const [name, label, view] of TABS) {
    const panel = h("div", { id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}`, class: "panel", tabindex: 0 });
    const tab = h("button", {
      id: `tab-${name}`, role: "tab", type: "button", "aria-controls": panel.id, click: () => app.set({ view: name }),
    }, label); // prettier-ignore
    list.append(tab);
    place("panels").append(panel);
    draws.set(name, view(panel, app));
    parts.set(name, { tab, panel });
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = TABS.findIndex(([name]) => name === app.state.view);
    const [name] = TABS[(at + step + TABS.length) % TABS.length];
    app.set({ view: name });
    parts.get(name)!.tab.focus();
  });
  app.onState(({ view }) => {
    for (const [name, { tab, panel }] of parts) {
      tab.setAttribute("aria-selected", String(name === view));
      tab.tabIndex = name === view ? 0 : -1;
      panel.hidden = name !== view;
    }
  });
  return (scene) => draws.get(scene.state.view)!(scene);
}

/** Which of the two models answers. */
function modelSwitch(app: App) {
  const choices = { storybook: "storybook, trained", twin: "its untrained twin" } as const;
  const buttons = Object.entries(choices).map(([name, label]) => {
    const input = h("input", { type: "radio", name: "model", value: name, change: () => app.set({ model: name as State["model"] }) });
    place("models").append(h("label", {}, input, label));
    return input;
  });
  app.onState(({ model }) => buttons.forEach((each) => (each.checked = each.value === model)));
}

/** Copy the address, which says all that is chosen. */
function linkButton(app: App) {
  const button = h("button", { type: "button", click: () => void copy() }, "Copy a link to this");
  const copy = async () => {
    const address = app.address();
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copy it from the address bar"; // browsers forbid it on some pages
    }
    setTimeout(() => (button.textContent = "Copy a link to this"), 2000);
  };
  place("tools").append(button);
}

/** Light or dark: the reader's choice on the course's pages, or the device's. */
function theme() {
  const root = document.documentElement;
  let kept: string | null = null;
  try {
    kept = localStorage.getItem("mode"); // as the theme of the site keeps it
  } catch {
    // a page in a folder may have no storage
  }
  const dark = kept === "dark" || (kept !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "dark" : "light";
  const button = h("button", { type: "button", click: () => change() });
  const say = () => (button.textContent = root.dataset.theme === "dark" ? "Light" : "Dark");
  const change = () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("mode", root.dataset.theme);
    } catch {
      // as above
    }
    say();
  };
  say();
  place("tools").append(button);
}

/** base64 of numbers as they lie in memory, little end first. */
function base64(numbers: Float32Array): string {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

async function start(): Promise<App> {
  const course: Course = JSON.parse(new TextDecoder().decode(await unpack("course")));
  const models = await Models.load(course);
  const app = new App(models, new Vocabulary(course));
  app.state = arrival(app, location.hash);
  window.addEventListener("hashchange", ({ newURL }) => app.replace(arrival(app, new URL(newURL).hash)));
  const drawReading = reading(place("reading"), app);
  const drawTokens = tokens(place("tokens"), app);
  const drawNext = next(place("next"), app);
  const drawView = tabs(app);
  modelSwitch(app);
  linkButton(app);
  storyteller(place("story"), app);
  changes(place("changes"), app);
  app.onScene((scene) => {
    document.body.classList.toggle("empty", !scene);
    drawReading(scene);
    drawTokens(scene);
    if (!scene) return;
    drawNext(scene);
    drawView(scene);
  });
  await app.refresh();
  return app;
}

place("course").append(courseLink("index.html", "← The course"));
theme();
const ready = start();
ready.then(
  () => document.body.classList.remove("loading"),
  (problem) => {
    console.error(problem);
    const none = typeof WebAssembly === "undefined";
    place("status").textContent = none
      ? "This browser has no WebAssembly, which the model needs. The pictures below show what you would see."
      : `The model could not be started: ${problem.message}`;
    document.body.classList.add("failed");
  },
);

window.addEventListener("unhandledrejection", ({ reason }) => {
  if (document.body.classList.contains("failed")) return; // that is said already
  place("status").textContent = `Something went wrong (${reason?.message ?? reason}). Reload the page to go on.`;
  document.body.classList.add("troubled");
});

/** For the curious, in the browser's console, and for the tests. */
(window as any).playground = {
  ready: ready.then(() => true),
  encode: async (text: string) => (await ready).vocabulary.encode(text),
  labels: async (text: string) => {
    const app = await ready;
    return app.vocabulary.labels(app.vocabulary.encode(text));
  },
  /** What a page with this hash would show: ids, and logits, patterns and streams in base64. */
  run: async (hash: string) => {
    const app = await ready;
    const scene = await app.compute(app.read(hash));
    if (!scene) return { ids: [] };
    const { logits, patterns, streams } = scene.run;
    return {
      ids: scene.tokens.map(({ id }) => id), cut: scene.cut,
      logits: base64(logits), patterns: base64(patterns), streams: base64(streams),
    }; // prettier-ignore
  },
  /** Seconds of one run on this hash, without what it takes to hand it over. */
  time: async (hash: string) => {
    const app = await ready;
    const state = app.read(hash);
    const before = performance.now();
    await app.compute(state);
    return (performance.now() - before) / 1000;
  },
  /** What an address stands for, without a story. */
  state: async (hash: string) => {
    const app = await ready;
    return { ...app.read(hash), story: null, step: 1 };
  },
  settled: async () => {
    const app = await ready;
    await app.settled();
    return app.address();
  },
};
