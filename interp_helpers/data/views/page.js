/* Loader and views meet in a promise, so that it does not matter which of them the page runs first. */
const page = globalThis.interpViews ??= {drawn: 0};
page.bundle ??= new Promise((done) => { page.ready = done; });
