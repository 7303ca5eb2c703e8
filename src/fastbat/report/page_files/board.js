// the board: filter, sort within groups
const board = $("#board");
if (board) {
  const rows = $$("tr.row", board),
    bodies = $$("tbody", board),
    q = $("#q"),
    heads = $$("thead button", board);
  const order = new Map(rows.map((r, i) => [r, i]));
  const open = () =>
    rows
      .filter((r) => !r.hidden && !r.parentElement.hidden && !r.parentElement.classList.contains("folded"))
      .sort((a, b) => (a.compareDocumentPosition(b) & 4 ? -1 : 1));
  $$("td.acc", board).forEach((td) => td.firstElementChild.setAttribute("data-l", td.dataset.label));
  const filter = () => {
    const words = q.value.toLowerCase().split(/\s+/).filter(Boolean),
      f = new FormData($("#tools"));
    for (const r of rows)
      r.hidden = !(
        words.every((w) => r.dataset.text.includes(w)) &&
        (!f.get("weights") || r.dataset.weights.startsWith("best")) &&
        !($("#sound").checked && r.classList.contains("fell"))
      );
    let count = 0;
    for (const b of bodies) {
      const n = $$("tr.row", b).filter((r) => !r.hidden).length;
      b.hidden = !n || !!(f.get("eps") && b.dataset.eps !== f.get("eps"));
      if (!b.hidden) count += n;
    }
    $("#count").textContent = count + (count === 1 ? " row" : " rows");
    $("#empty").hidden = count > 0;
    say(count + " rows shown");
    const first = open()[0];
    $$(".n", board).forEach((e) => e.setAttribute("tabindex", "-1"));
    if (first && $(".n", first)) $(".n", first).setAttribute("tabindex", "0");
  };
  for (const g of $$(".g1", board)) {
    const fold = (on) => {
      g.setAttribute("aria-expanded", String(!on));
      g.closest("tbody").classList.toggle("folded", on);
    };
    g.addEventListener("click", () => {
      fold(g.getAttribute("aria-expanded") === "true");
      filter();
    });
    if (matchMedia("(max-width: 640px)").matches && g !== $(".g1", board)) fold(true);
  }
  const cellOf = { name: ".c-name", clean: ".acc.clean", pgd: ".acc.pgd", aa: ".acc.aa", cost: ".c-cost" };
  let by = "",
    down = true;
  const sort = (key, dir) => {
    by = key;
    down = dir;
    const value = (r) => {
      const v = $(cellOf[key], r).dataset.v;
      return key === "name" ? v.toLowerCase() : v === "" ? null : +v;
    };
    for (const b of bodies) {
      const mine = $$("tr.row", b);
      mine.sort((x, y) => {
        if (!key) return (order.get(x) - order.get(y)) * (down ? 1 : -1);
        const a = value(x),
          c = value(y);
        if (a === null || c === null) return (a === null) - (c === null) || order.get(x) - order.get(y);
        return (a < c ? -1 : a > c ? 1 : order.get(x) - order.get(y)) * (down ? -1 : 1);
      });
      b.append(...mine);
    }
    for (const h of heads) {
      const th = h.closest("th");
      if (h.dataset.sort === key && key) th.setAttribute("aria-sort", down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    $("#sortby").value = key;
    const head = heads.find((h) => h.dataset.sort === key);
    say(
      "Sorted by " +
        head.textContent.trim() +
        (key ? (down ? ", highest first" : ", lowest first") : "") +
        ", within the groups",
    );
  };
  for (const h of heads)
    h.addEventListener("click", () => {
      const k = h.dataset.sort,
        first = k !== "cost" && k !== "name";
      sort(k, k === by && k ? !down : first);
    });
  $("#sortby").addEventListener("change", (e) => sort(e.target.value, !["cost", "name"].includes(e.target.value)));
  $("#tools").addEventListener("input", filter);
  $("#tools").addEventListener("submit", (e) => e.preventDefault());
  $("#ranges").addEventListener("change", (e) => board.classList.toggle("show-ranges", e.target.checked));
  $("#clear").addEventListener("click", () => {
    $("#tools").reset();
    board.classList.remove("show-ranges");
    filter();
    q.focus();
  });
  addEventListener("keydown", (e) => {
    if (e.key === "/" && !e.target.matches("input,select,textarea")) {
      e.preventDefault();
      q.focus();
    }
  });
  const wide = () =>
    $$(".n", board).filter((e) => {
      const r = e.closest("tr");
      return !r.hidden && !r.parentElement.hidden && !r.parentElement.classList.contains("folded");
    });
  rove(board, wide, open);
  const reveal = () => {
    const r = location.hash.startsWith("#r-") && document.getElementById(location.hash.slice(1));
    if (!r) return;
    if (r.parentElement.classList.contains("folded")) $(".g1", r.parentElement).click();
    if (r.hidden || r.parentElement.hidden) {
      $("#tools").reset();
      filter();
      if (r.hidden) {
        $('[name=weights][value=""]').checked = true;
        filter();
      }
    }
    r.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", reveal);
  reveal();
}
