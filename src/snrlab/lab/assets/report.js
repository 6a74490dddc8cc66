// Reloads the page of a run that goes on, and puts back what the reader had scrolled, opened and folded.
(() => {
  const key = "snrlab" + location.pathname, boxes = () => [...document.querySelectorAll(".sideways")];
  const folds = () => [...document.querySelectorAll("details")];
  try {
    const state = JSON.parse(sessionStorage.getItem(key) || "null");
    if (state) {
      folds().forEach((fold, i) => { fold.open = !!state.open[i]; });
      boxes().forEach((box, i) => { box.scrollLeft = state.left[i] || 0; });
      scrollTo(0, state.top);
    }
  } catch { /* a browser that keeps nothing for local files */ }
  setInterval(() => {
    if (document.hidden || String(getSelection())) return;
    try {
      sessionStorage.setItem(key, JSON.stringify({
        top: scrollY, left: boxes().map((box) => box.scrollLeft), open: folds().map((fold) => fold.open) }));
    } catch { /* as above */ }
    location.reload();
  }, 10000);
})();
