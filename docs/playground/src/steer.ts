import type { App, Scene } from "./app";
export function steer(_root: HTMLElement, _app: App): (scene: Scene) => void {
  return () => {};
}
