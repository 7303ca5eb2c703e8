"use strict";
// The page is complete without this script; it adds what a pointer or a keyboard can ask for.
const $ = (s, e = document) => e.querySelector(s),
  $$ = (s, e = document) => [...e.querySelectorAll(s)];
const DATA = JSON.parse($("#data").textContent);
const say = (text) => {
  $("#live").textContent = text;
};
const make = (tag, text, cls) => {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (cls) e.className = cls;
  return e;
};
const held = {
  get: () => {
    try {
      return localStorage.getItem("fastbat-theme");
    } catch {
      return null;
    }
  },
  set: (v) => {
    try {
      localStorage.setItem("fastbat-theme", v);
    } catch {}
  },
};

// colours: as the system has them, light, dark
const THEMES = ["system", "light", "dark"];
const themed = (name) => {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const b = $("#theme");
  b.textContent = "Colours: " + name;
  b.setAttribute("aria-label", "Colours: " + name + "; press for the next");
  held.set(name);
  redraw();
};
