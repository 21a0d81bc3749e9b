/* Unpack CircuitsVis's bundle, once a page, and hand it to the views that wait for it. */
if (page.loaded) return;
page.loaded = true;
const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
const source = await new Response(stream).text();
const {render, ...components} = new Function(source + "\nreturn CircuitsVis;")();
page.ready({...components, render: (id, component, props) => {
  render(id, component, props);
  (props.attention ? nameHeads : nameTokens)(document.getElementById(id), props);
}});
