// The slider of a comparison of runs: shows the pictures of one view in every cell.
"use strict";
const view = document.getElementById("view");
if (view) {
  const names = [...document.querySelectorAll("#view-names option")].map((option) => option.textContent);
  const show = () => {
    document.getElementById("view-name").textContent = names[view.value];
    view.setAttribute("aria-valuetext", names[view.value]);
    for (const cell of document.querySelectorAll("[data-view]")) cell.hidden = cell.dataset.view !== view.value;
  };
  view.addEventListener("input", show);
  show();
}
