import type { App, Scene } from "./app";
export function heads(_root: HTMLElement, _app: App): (scene: Scene) => void {
  return () => {};
}
