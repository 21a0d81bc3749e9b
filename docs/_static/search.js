// The search page. MiniSearch ranks the sections in search-documents.js; this shows them as one types.
{
  const page = document.querySelector(".search-page");
  const [form, status, list] = ["form", "[role=status]", "ol"].map((name) => page.querySelector(name));
  const SHOWN = 30;
  const WORD = /([\p{L}\p{N}_]+)/u;
  const SENTENCE = /[^\n]+?(?:[.?!][)"”]*(?= )|$)/gm;
  const HINT = "Type words, the beginning of a word, or a name in the code such as resid_post.";

  // hook_resid_post is found by its beginning and by that of each of its parts, heads as head.
  const words = (text) => text.split(WORD).filter((_, place) => place % 2);
  const tails = (word) => word.split("_").map((_, start, parts) => parts.slice(start).join("_")).filter(Boolean);
  const plain = (word) => word.toLowerCase().replace(/([^s])s$/, "$1");
  const terms = (word) => tails(word).map(plain);

  const index = new MiniSearch({
    fields: ["title", "page", "text"],
    tokenize: (text) => words(text).flatMap(tails),
    processTerm: plain,
    searchOptions: {tokenize: words, prefix: true, combineWith: "AND", boost: {title: 4, page: 2}},
  });
  index.addAll(searchDocuments.map((each, id) => ({id, ...each})));

  // All words as they are typed; if that finds nothing, words that are nearly so; then any of the words.
  const fuzzy = (word) => (word.length > 3 ? 0.25 : false);
  const STEPS = [
    ["", {}],
    ["Nothing has exactly these words. This is near: ", {fuzzy}],
    ["No section has all of these words. These have some: ", {fuzzy, combineWith: "OR"}],
  ];
  const search = (query) => {
    const named = ({id}) => searchDocuments[id].title.toLowerCase() === query.toLowerCase();
    for (const [said, options] of STEPS) {
      const hits = index.search(query, options);
      if (hits.length) return [said, [...hits.filter(named), ...hits.filter((hit) => !named(hit))]];
    }
    return ["", []];
  };

  const marked = (tag, text, found) => {
    const made = document.createElement(tag);
    text.split(WORD).forEach((piece, place) => {
      const hit = place % 2 && terms(piece).some((term) => found.has(term));
      made.append(hit ? Object.assign(document.createElement("mark"), {textContent: piece}) : piece);
    });
    return made;
  };

  // The sentence with the most of the words that were found; a line of code, which begins with a tab, if no prose has.
  const sentence = (text, found) => {
    let best = "", most = -1;
    for (const each of text.match(SENTENCE) ?? []) {
      const here = new Set(words(each).flatMap(terms).filter((term) => found.has(term)));
      const has = here.size + (here.size && !each.startsWith("\t") ? 0.5 : 0);
      if (has > most) [best, most] = [each, has];
    }
    if (best.length <= 320) return best;
    const first = words(best).find((word) => terms(word).some((term) => found.has(term))) ?? "";
    const start = Math.max(0, best.indexOf(first) - 120);
    return (start ? "… " : "") + best.slice(start, start + 300).trim() + " …";
  };

  const show = () => {
    const query = form.q.value.trim();
    history.replaceState(null, "", query ? "?q=" + encodeURIComponent(query) : location.pathname);
    list.textContent = "";
    if (!query) {
      status.textContent = HINT;
      return;
    }
    const [said, hits] = search(query);
    const number = hits.length > SHOWN ? `${hits.length} sections; here are the best ${SHOWN}. More words narrow it down.` :
      hits.length === 1 ? "1 section" : `${hits.length} sections`;
    status.textContent = hits.length ? `${said}${number}` : `Nothing here has the words “${query}”. ` +
      "Try fewer words, another word for the same thing, or look into the glossary.";
    for (const {id, match} of hits.slice(0, SHOWN)) {
      const {title, page, url, text} = searchDocuments[id];
      const found = new Set(Object.keys(match));
      const item = list.appendChild(document.createElement("li"));
      const link = item.appendChild(marked("a", title, found));
      link.href = url;
      if (page !== title) item.append(Object.assign(document.createElement("small"), {textContent: page}));
      const line = sentence(text, found);
      const shown = marked(line.startsWith("\t") ? "code" : "span", line.trim(), found);
      item.appendChild(document.createElement("p")).append(shown);
    }
  };

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.focus();
  });
  page.addEventListener("keydown", (event) => {
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    const stops = [form.q, ...list.querySelectorAll("a")];
    const next = step && stops[stops.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  form.q.value = new URLSearchParams(location.search).get("q") ?? "";
  show();
  form.q.focus();
}
