// beside a number: where it comes from
const pop = $("#pop"),
  COMMANDS = ["training", "evaluation"];
let shownFor = null;
const show = (near, title, lines, tight) => {
  pop.replaceChildren(make("strong", title));
  const dl = make("dl");
  for (const [k, v] of lines) dl.append(make("dt", k), make("dd", v, COMMANDS.includes(k) ? "cmd" : ""));
  pop.append(dl);
  pop.classList.toggle("tight", !!tight);
  pop.hidden = false;
  shownFor = near;
  const r = near.getBoundingClientRect(),
    w = pop.offsetWidth,
    h = pop.offsetHeight;
  const x = Math.max(12, Math.min(tight ? tight.x + 14 : r.left, innerWidth - w - 12));
  const below = r.bottom + 8 + h < innerHeight || r.top - h - 8 < 0;
  pop.style.left = x + scrollX + "px";
  pop.style.top = (below ? r.bottom + 6 : r.top - h - 6) + scrollY + "px";
};
const hide = () => {
  pop.hidden = true;
  shownFor = null;
};
const card = (e) => {
  const [title, lines, origin, source] = DATA.cards[+e.dataset.p];
  show(e, title, [...lines, ...DATA.origins[origin], ["source", String(source)]]);
};
let leaving = 0;
const later = () => {
  clearTimeout(leaving);
  leaving = setTimeout(hide, 160);
};
for (const e of $$("[data-p]")) {
  e.addEventListener("pointerenter", (ev) => {
    if (ev.pointerType !== "touch") {
      clearTimeout(leaving);
      card(e);
    }
  });
  e.addEventListener("pointerleave", later);
  e.addEventListener("focus", () => {
    if (!e.matches(":focus-visible")) return;
    clearTimeout(leaving);
    card(e);
  });
  e.addEventListener("blur", later);
  e.addEventListener("click", (ev) => {
    if (matchMedia("(hover: none)").matches && shownFor !== e) {
      ev.preventDefault();
      card(e);
    }
  });
}
pop.addEventListener("pointerenter", () => clearTimeout(leaving));
pop.addEventListener("pointerleave", later);
addEventListener("keydown", (e) => {
  if (e.key === "Escape") hide();
});
document.addEventListener("pointerdown", (e) => {
  if (!pop.contains(e.target) && !e.target.closest("[data-p]")) hide();
});

// one stop for Tab, arrow keys within
const rove = (box, items, rows) => {
  const all = items();
  if (!all.length) return;
  all.forEach((e, i) => e.setAttribute("tabindex", i ? "-1" : "0"));
  const go = (e) => {
    if (!e) return;
    items().forEach((o) => o.setAttribute("tabindex", o === e ? "0" : "-1"));
    e.focus();
  };
  box.addEventListener("keydown", (e) => {
    const list = items(),
      here = list.indexOf(document.activeElement);
    if (here < 0) return;
    let to = null;
    if (e.key === "ArrowRight") to = list[here + 1];
    else if (e.key === "ArrowLeft") to = list[here - 1];
    else if (e.key === "Home") to = list[0];
    else if (e.key === "End") to = list[list.length - 1];
    else if (rows && (e.key === "ArrowDown" || e.key === "ArrowUp")) {
      const all = rows(),
        row = list[here].closest("tr"),
        col = $$(".n", row).indexOf(list[here]),
        next = all[all.indexOf(row) + (e.key === "ArrowDown" ? 1 : -1)];
      if (next) {
        const there = $$(".n", next);
        to = there[Math.min(col, there.length - 1)];
      }
    } else if (!rows && e.key === "ArrowDown") to = list[here + 1];
    else if (!rows && e.key === "ArrowUp") to = list[here - 1];
    else return;
    e.preventDefault();
    go(to);
  });
};
$$("[data-rove]").forEach((g) => rove(g, () => $$(".pt", g)));
