if ($("#same")) $("#same").addEventListener("change", () => redraw());
if ($("#reset"))
  $("#reset").addEventListener("click", () => {
    Object.assign(camera, START);
    redraw();
  });
$("#theme").addEventListener("click", () =>
  themed(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "system") + 1) % 3]),
);
new ResizeObserver(() => redraw()).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
addEventListener("beforeprint", () => redraw(true));
addEventListener("afterprint", () => redraw());
themed(THEMES.includes(held.get()) ? held.get() : "system");
document.documentElement.dataset.ready = "yes";
