/* CircuitsVis finds its element by id. Equal views have equal markup, so each card gets its id only when it is drawn.
AttentionHeads opens with head 0 and has no property for another one: a click on its small pattern chooses it. */
const {render, ...components} = await page.bundle;
const {weights, scale, focus, ...props} = view;
if (weights) props.attention = weights.map(
  (head) => head.map((row) => props.tokens.map((_, key) => (row[key] ?? 0) / scale)));
for (const card of document.querySelectorAll('[data-view="' + name + '"]:not([id])')) {
  card.id = name + "-" + page.drawn++;
  if (focus) new MutationObserver((_, observer) => {
    const pattern = card.querySelectorAll("canvas")[focus];
    if (pattern) { observer.disconnect(); pattern.click(); }
  }).observe(card, {childList: true, subtree: true});
  render(card.id, components[component], props);
}
