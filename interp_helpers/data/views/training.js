/* Playing goes through all frames in about six seconds. A reader who asked their system for less motion gets six jumps.
The cell that was pointed at last stays marked, so that its weight can be followed while the training plays.
JupyterLab would take the keys of the slider and of the maps for its own. */
const {tokens, names, steps, even, curves, patterns, letters, colours, start} = view;
const size = tokens.length, last = steps.length - 1;
const weight = (frame, head, query, key) => {
  const row = ((frame * names.length + head) * size * (size + 1)) / 2 + (query * (query + 1)) / 2;
  const digit = (which) => letters.indexOf(patterns[2 * (row + key) + which]);
  return (digit(0) * letters.length + digit(1)) / (letters.length ** 2 - 1);
};
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  card.textContent = "";
  const bar = add(card, "training-bar", ""), sides = add(card, "training-sides", "");
  const button = add(bar, "button", ""), label = add(bar, "label", "training step "), slider = add(bar, "input", "");
  add(button, "i", "");
  const action = add(button, "span", "Play"), shown = add(label, "b", "");
  slider.type = "range";
  slider.max = last;
  slider.id = label.htmlFor = card.id + "-step";
  slider.setAttribute("aria-label", "training step");
  let frame, cell, timer;

  const maps = add(sides, "training-maps", "");
  const heads = names.map((name, head) => {
    const map = add(maps, "training-map", "");
    add(map, "b", name);
    add(map, "small", "query \u2192");
    const grid = add(map, "training-grid", ""), canvas = add(grid, "canvas", ""), mark = add(grid, "i", "");
    add(map, "small", "key \u2192");
    canvas.width = canvas.height = size;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.onpointermove = canvas.onpointerdown = (event) => {
      const box = canvas.getBoundingClientRect();
      const part = [(event.clientY - box.y) / box.height, (event.clientX - box.x) / box.width];
      point(head, ...part.map((each) => limit(Math.floor(each * size), size)));
    };
    canvas.onkeydown = (event) => {
      const step = arrows[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const [, query, key] = cell ?? [head, size - 1, size - 1];
      point(head, limit(query + step[0], size), limit(key + step[1], size));
    };
    return {canvas, mark, pen: canvas.getContext("2d")};
  });
  const right = add(sides, "training-charts", "");
  const charts = curves.map(({name, values, ticks, digits}) => {
    const chart = add(right, "training-chart", ""), title = add(chart, "p", ""), box = add(chart, "div", "");
    add(title, "span", name);
    const value = add(title, "b", ""), low = ticks[0], high = ticks[ticks.length - 1];
    const x = (frame) => 38 + (212 * frame) / last, y = (value) => 106 - (98 * (value - low)) / (high - low);
    const text = (x, y, side, said) => `<text x="${x}" y="${y}" text-anchor="${side}">${said}</text>`;
    box.innerHTML = '<svg viewBox="0 0 260 126" role="img">' +
      ticks.map((tick) => `<path d="M38 ${y(tick)}H250"/>` + text(32, y(tick) + 3.5, "end", tick)).join("") +
      text(38, 121, "middle", steps[0]) + text(256, 121, "end", steps[last]) +
      text(140, 121, "middle", "training step" + (even ? "" : " (not to scale)")) +
      "<path/><polyline/><circle r='4'/></svg>";
    const drawing = box.firstChild, now = box.querySelector("path:last-of-type");
    const line = box.querySelector("polyline"), dot = box.querySelector("circle");
    return () => {
      const [across, up] = [x(frame), y(values[frame])];
      value.textContent = values[frame].toFixed(digits);
      drawing.setAttribute("aria-label", `${name}: ${value.textContent} at step ${steps[frame]}`);
      line.setAttribute("points", values.slice(0, frame + 1).map((each, at) => `${x(at)},${y(each)}`).join(" "));
      dot.setAttribute("cx", across);
      dot.setAttribute("cy", up);
      now.setAttribute("d", `M${across} 8V106`);
    };
  });
  const foot = add(maps, "training-foot", ""), told = add(foot, "span", "Point at a cell to read its weight.");
  const legend = add(foot, "small", "attention: 0");
  add(legend, "i", "");
  legend.append("1");
  told.setAttribute("role", "status");

  const tell = () => {
    if (!cell) return;
    const [head, query, key] = cell;
    for (const {mark} of heads) {
      mark.hidden = false;
      mark.style.inset = `${(100 * query) / size}% auto auto ${(100 * key) / size}%`;
    }
    const share = key > query ? null : weight(frame, head, query, key).toFixed(2);
    told.textContent = tellWeight(tokens, query, key, share, names[head]);
  };
  const point = (...to) => {
    cell = to;
    tell();
  };
  const go = (to) => {
    frame = to;
    slider.value = frame;
    slider.setAttribute("aria-valuetext", `step ${steps[frame]}`);
    shown.textContent = steps[frame];
    heads.forEach(({canvas, pen}, head) => {
      canvas.setAttribute("aria-label", `attention of ${names[head]} at step ${steps[frame]}`);
      for (let query = 0; query < size; query++) for (let key = 0; key <= query; key++) {
        pen.fillStyle = colours[Math.round(weight(frame, head, query, key) * (colours.length - 1))];
        pen.fillRect(key, query, 1, 1);
      }
    });
    for (const draw of charts) draw();
    tell();
  };
  const play = (on) => {
    clearInterval(timer);
    timer = null;
    button.toggleAttribute("data-playing", on);
    action.textContent = on ? "Pause" : "Play";
    told.setAttribute("aria-live", on ? "off" : "polite");
    if (!on) return;
    if (frame === last) go(0);
    const stride = matchMedia("(prefers-reduced-motion: reduce)").matches ? Math.ceil(last / 6) : 1;
    timer = setInterval(() => {
      if (card.isConnected) go(Math.min(frame + stride, last));
      if (frame === last || !card.isConnected) play(false);
    }, (6000 * stride) / last);
  };
  button.onclick = () => play(!timer);
  slider.oninput = () => {
    play(false);
    go(Number(slider.value));
  };
  bar.onkeydown = (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  };
  for (const {mark} of heads) mark.hidden = true;
  go(start);
}
