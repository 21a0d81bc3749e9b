import type { App, Scene } from "./app";
export function breaking(_root: HTMLElement, _app: App): (scene: Scene) => void {
  return () => {};
}
