/** The guided stories: cards to choose from, and the one that is being told. */

import type { App } from "./app";
import { courseLink, h } from "./dom";
import type { State } from "./state";
import list from "./stories.json";

interface Step {
  title: string;
  text: string;
  state: string;
}

export interface Story {
  id: string;
  title: string;
  question: string;
  notebook: string;
  minutes: number;
  steps: Step[];
}

export const stories: Story[] = list;

/** The state in which a step begins. */
export function opening(app: App, story: Story, step: number): State {
  return { ...app.read(story.steps[step - 1].state), story: story.id, step };
}

/** The state of an address. A link to a story alone stands for the state in which that step begins. */
export function arrival(app: App, hash: string): State {
  const state = app.read(hash);
  const story = stories.find(({ id }) => id === state.story);
  if (!story) return { ...state, story: null };
  const step = Math.min(state.step, story.steps.length);
  const given = [...new URLSearchParams(hash.slice(1)).keys()];
  return given.every((key) => key === "story" || key === "step") ? opening(app, story, step) : { ...state, step };
}

/** Text with `code` between backticks, as nodes. */
function prose(text: string): (Node | string)[] {
  return text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
}

/** Cards of all stories. */
export function cards(app: App): HTMLElement {
  return h("ul", { class: "stories" },
    ...stories.map((story) =>
      h("li", {},
        h("button", { type: "button", click: () => app.replace(opening(app, story, 1)) },
          h("strong", {}, story.title), h("span", {}, story.question),
          h("small", {}, `${story.minutes} minutes, ${story.steps.length} steps`)))),
  ); // prettier-ignore
}

/** The step that is being told, above the page. */
export function storyteller(root: HTMLElement, app: App) {
  let told: string | null = null; // null before the page has begun
  app.onState(({ story: id, step }) => {
    const story = stories.find((each) => each.id === id);
    root.hidden = !story;
    const now = story ? `${id} ${step}` : "";
    if (told === now) return;
    const begun = told !== null;
    told = now;
    if (!story) {
      if (begun) document.getElementById("text")!.focus(); // the button that was pressed is gone
      return;
    }
    const { title, text } = story.steps[step - 1];
    const go = (to: number) => app.replace(opening(app, story, to));
    const last = step === story.steps.length;
    const heading = h("h2", { tabindex: -1 }, title);
    root.replaceChildren(
      h("p", { class: "where" }, `${story.title} · step ${step} of ${story.steps.length}`),
      heading,
      h("p", {}, ...prose(text)),
      h("div", { class: "steps" },
        h("button", { type: "button", disabled: step === 1, click: () => go(step - 1) }, "← Back"),
        last
          ? courseLink(`notebooks/${story.notebook}.html`, `Go on in notebook ${story.notebook.slice(0, 2)} →`)
          : h("button", { type: "button", class: "main", click: () => go(step + 1) }, "Next →"),
        h("button", { type: "button", click: () => go(step) }, "Start this step again"),
        h("button", { type: "button", click: () => app.set({ story: null, step: 1 }) }, "Leave the story")),
    ); // prettier-ignore
    if (!begun) return;
    heading.focus({ preventScroll: true });
    root.scrollIntoView({ block: "nearest" });
  });
}
