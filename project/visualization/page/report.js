"use strict";
(() => {
  const STEP = 12; // errors that are shown at first, and more with each press
  const form = document.querySelector(".filters");
  const figures = [...document.querySelectorAll(".errors figure")];
  const count = form.querySelector(".count");
  const further = document.querySelector(".further");
  let limit = STEP;

  const wanted = (figure, kind, name, least) =>
    (!name || figure.dataset.class === name) &&
    (!kind || figure.dataset.kind === kind) &&
    // What was missed has no score, so a least score leaves it out.
    (least === 0 || Number(figure.dataset.score ?? -1) >= least);

  const show = () => {
    const { kind, score } = form.elements;
    const name = form.elements.class.value;
    const least = Number(score.value);
    let number = 0;
    for (const figure of figures) {
      const fits = wanted(figure, kind.value, name, least);
      figure.hidden = !fits || number >= limit;
      number += fits ? 1 : 0;
    }
    form.elements.shown.value = least.toFixed(2);
    const shown = Math.min(number, limit);
    count.textContent = number === 0 ? "No such error here" : `${shown} of ${number} shown`;
    further.hidden = number <= limit;
    further.textContent = `Show ${Math.min(STEP, number - shown)} more`;
  };

  form.addEventListener("input", () => {
    limit = STEP;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  further.addEventListener("click", () => {
    limit += STEP;
    show();
  });
  form.hidden = false;
  form.reset();
  show();
})();
