/* CircuitsVis listens to the mouse alone. Here its heads become buttons, its patterns get names, and arrow keys go over
the cells of the large pattern and over the tokens of a text. The head that is large has a shadow. A token with the
focus gets the events of a mouse over it, and a screen reader says what CircuitsVis adds to the text then. JupyterLab
would take the keys for its own. */
const keys = (card, act) => {
  card.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || act(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  };
};
const nameHeads = (card, {attention, attentionHeadNames: names, maskUpperTri, tokens}) => {
  const told = document.createElement("p");
  told.setAttribute("role", "status");
  let large, shown, cell;
  const tell = () => {
    const [query, key] = cell ?? [], weight = maskUpperTri && key > query ? null : attention[shown][query]?.[key];
    const text = cell ? tellWeight(tokens, query, key, weight, names[shown]) :
      "Point at a cell of the large pattern to read its weight, or go there with the arrow keys.";
    if (told.textContent !== text) told.textContent = text;
  };
  const draw = () => {
    const heads = [...card.querySelectorAll("h4")].map((name) => name.parentNode.parentNode);
    const patterns = [...card.querySelectorAll("canvas")];
    large = patterns[heads.length];
    if (!large) return;
    shown = heads.findIndex((head) => head.firstChild.style.boxShadow);
    heads.forEach((head, number) => {
      head.tabIndex = 0;
      head.setAttribute("role", "button");
      head.setAttribute("aria-label", `head ${names[number]}`);
      head.setAttribute("aria-pressed", number === shown);
    });
    large.tabIndex = 0;
    patterns.forEach((pattern, number) => {
      pattern.setAttribute("aria-label", `attention pattern of head ${names[number] ?? names[shown]}`);
    });
    if (!told.isConnected) card.append(told);
    tell();
  };
  new MutationObserver(draw).observe(card, {childList: true, subtree: true, attributeFilter: ["style"]});
  keys(card, ({key, target}) => {
    const step = arrows[key];
    if (target !== large && (key === "Enter" || key === " ")) return target.click();
    if (target !== large || !step) return false;
    cell = (cell ?? [tokens.length - 1, 0]).map((place, side) => limit(place + step[side], tokens.length));
    tell();
  });
};
const nameTokens = (card) => {
  const find = () => [...card.querySelectorAll(":scope > div > span")];
  const mouse = (token, ...kinds) => {
    const {x, y, width, height} = token.getBoundingClientRect();
    const place = {clientX: x + width / 2, clientY: y + height / 2};
    for (const kind of kinds) token.dispatchEvent(new MouseEvent(kind, place));
  };
  const reach = (to) => find().forEach((token) => { token.tabIndex = token === to ? 0 : -1; });
  new MutationObserver((_, observer) => {
    const [first] = find();
    if (!first) return;
    observer.disconnect();
    reach(first);
    first.parentNode.setAttribute("aria-live", "polite");
  }).observe(card, {childList: true, subtree: true});
  card.addEventListener("focusin", ({target}) => {
    reach(target);
    mouse(target, "mouseenter", "mousemove");
  });
  card.addEventListener("focusout", ({target}) => mouse(target, "mouseleave"));
  keys(card, ({key, target}) => {
    const tokens = find(), step = arrows[key];
    if (key === "Escape") return mouse(target, "mouseleave");
    if (!step) return false;
    tokens[limit(tokens.indexOf(target) + step[0] + step[1], tokens.length)].focus();
  });
};
