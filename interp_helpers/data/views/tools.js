/* What several scripts use. A step of an arrow key is (down, right). */
const add = (parent, tag, text) => {
  const made = parent.appendChild(document.createElement(tag));
  made.textContent = text;
  return made;
};
const arrows = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
const limit = (place, count) => Math.max(0, Math.min(count - 1, place));
const tellWeight = (tokens, query, key, weight, head) => {
  const part = (kind, place) => `${kind} ${place} '${tokens[place]}'`;
  const said = weight ?? "no attention to a later position";
  return `${part("query", query)} \u2192 ${part("key", key)}: ${said} (${head})`;
};
