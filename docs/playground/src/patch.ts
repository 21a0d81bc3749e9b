import type { App, Scene } from "./app";
export function patch(_root: HTMLElement, _app: App): (scene: Scene) => void {
  return () => {};
}
