// one method in all charts
const hot = (key) => {
  document.body.classList.toggle("dimmed", !!key);
  for (const e of $$("[data-m]")) e.classList.toggle("hot", !!key && e.dataset.m === key);
};
let warm = 0;
for (const e of $$("[data-m]"))
  if (e.dataset.m) {
    const on = () => {
        clearTimeout(warm);
        warm = setTimeout(() => hot(e.dataset.m), 90);
      },
      off = () => {
        clearTimeout(warm);
        warm = setTimeout(() => hot(""), 60);
      };
    e.addEventListener("pointerenter", on);
    e.addEventListener("pointerleave", off);
    e.addEventListener("focusin", on);
    e.addEventListener("focusout", off);
  }

// reading a curve: an epoch's numbers, by pointer or by arrow keys
for (const fig of $$("[data-series]")) {
  const rows = JSON.parse(fig.dataset.rows),
    names = DATA.series[fig.dataset.series],
    [x0, step] = fig.dataset.geo.split(",").map(Number);
  let at = -1;
  const read = (i, px) => {
    at = Math.max(0, Math.min(rows.length - 1, i));
    const box = $(".box", fig).getBoundingClientRect(),
      x = (x0 + (rows[at][0] - 1) * step) * box.width;
    fig.style.setProperty("--at", x + "px");
    fig.classList.add("read");
    show(
      fig,
      "Epoch " + rows[at][0],
      names.map((n, k) => [n, rows[at][k + 1] == null ? "–" : String(rows[at][k + 1])]),
      { x: box.left + x },
    );
  };
  const stop = () => {
    fig.classList.remove("read");
    hide();
  };
  fig.addEventListener("pointermove", (e) => {
    const b = $(".box", fig).getBoundingClientRect();
    read(Math.round(((e.clientX - b.left) / b.width - x0) / step));
  });
  fig.addEventListener("pointerleave", stop);
  fig.addEventListener("blur", stop);
  fig.addEventListener("keydown", (e) => {
    if (e.key === "ArrowRight" || e.key === "ArrowLeft") {
      e.preventDefault();
      read(at + (e.key === "ArrowRight" ? 1 : -1));
      say(
        "Epoch " + rows[at][0] + ": " + names.map((n, k) => n + " " + (rows[at][k + 1] ?? "not measured")).join(", "),
      );
    }
  });
}
