import type { App, Scene } from "./app";
export function depth(_root: HTMLElement, _app: App): (scene: Scene) => void {
  return () => {};
}
