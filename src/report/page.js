// Shows the numbers under the pointer. Without it every plot is as complete.
"use strict";
for (const figure of document.querySelectorAll("figure")) {
  const plot = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg"), out = figure.querySelector("output");
  const [left, top, right, bottom] = plot.area, width = svg.viewBox.baseVal.width;
  const part = (v, s) => s.log ? Math.log(v / s.lo) / Math.log(s.hi / s.lo) : (v - s.lo) / (s.hi - s.lo);
  const px = x => left + part(x, plot.x) * (right - left), py = y => bottom - part(y, plot.y) * (bottom - top);
  const units = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
  const si = v => {
    let i = 0;
    while (Math.abs(v) >= 999.95 && i < 8) { v /= 1000; i++; }
    return String(+v.toPrecision(4)) + units[i];
  };
  const add = (name, attributes) => {
    const e = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", name));
    for (const k in attributes) e.setAttribute(k, attributes[k]);
    e.style.display = "none";
    return e;
  };
  const cross = add("line", { class: "cross", y1: top, y2: bottom });
  const dots = plot.series.map(s => add("circle", { class: "at", r: 4, style: "fill:" + s.color }));
  const nearest = (xs, x) => {
    let lo = 0, hi = xs.length - 1;
    while (lo < hi) { const mid = (lo + hi) >> 1; if (xs[mid] < x) lo = mid + 1; else hi = mid; }
    return lo > 0 && Math.abs(px(xs[lo - 1]) - px(x)) < Math.abs(px(xs[lo]) - px(x)) ? lo - 1 : lo;
  };
  const note = out.textContent;
  const hide = () => {
    out.textContent = note;
    for (const e of [cross, ...dots]) e.style.display = "none";
  };
  const show = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) * width / box.width;
    if (at < left - 8 || at > right + 8) return hide();
    const f = Math.min(Math.max((at - left) / (right - left), 0), 1);
    const x = plot.x.log ? plot.x.lo * Math.pow(plot.x.hi / plot.x.lo, f) : plot.x.lo + f * (plot.x.hi - plot.x.lo);
    out.textContent = "";
    let where = null;
    plot.series.forEach((s, k) => {
      dots[k].style.display = "none";
      if (!s.x || !s.x.length) return;
      const i = nearest(s.x, x), cx = px(s.x[i]), cy = py(s.y[i]);
      if (s.sparse && Math.abs(cx - at) > 8) return;
      if (where === null) where = s.x[i];
      const value = document.createElement("b");
      value.textContent = Math.abs(s.y[i]) >= 1000 ? si(s.y[i]) : +s.y[i].toPrecision(4);
      out.append(" · " + s.name + " ", value);
      if (cy < top - 1 || cy > bottom + 1) return;
      dots[k].setAttribute("cx", cx);
      dots[k].setAttribute("cy", cy);
      dots[k].style.display = "";
    });
    if (where === null) return hide();
    out.prepend(si(where) + " " + plot.label.replace(/ \(.*/, "").replace("training ", ""));
    cross.setAttribute("x1", px(where));
    cross.setAttribute("x2", px(where));
    cross.style.display = "";
  };
  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", hide);
}
