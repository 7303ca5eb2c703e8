// loss surfaces: a height field painted from the back to the front, which is exact without any 3-D library
const START = { yaw: -0.62, pitch: 0.46, tall: 1 },
  camera = { ...START };
const lightness = () => getComputedStyle(document.documentElement).colorScheme.trim() === "dark";
let RAMP = DATA.ramp;
const mix = (t) => {
  const r = RAMP,
    u = Math.max(0, Math.min(1, t)) * (r.length - 1),
    i = Math.min(r.length - 2, Math.floor(u)),
    f = u - i;
  return [0, 1, 2].map((k) => r[i][k] + (r[i + 1][k] - r[i][k]) * f);
};
const nice = (lo, hi) => {
  const raw = (hi - lo) / 3,
    p = 10 ** Math.floor(Math.log10(raw)),
    s = [1, 2, 5, 10].find((m) => m * p >= raw) * p,
    out = [];
  for (let v = Math.ceil(lo / s) * s; v <= hi + 1e-9; v += s) out.push(+v.toFixed(6));
  return out;
};
const paint = (canvas, print) => {
  const d = DATA.surfaces[+canvas.dataset.k],
    N = d.z.length,
    box = canvas.getBoundingClientRect();
  if (!box.width) return;
  const dpr = print ? 3 : Math.min(3, devicePixelRatio || 1),
    W = box.width,
    H = box.height;
  canvas.width = W * dpr;
  canvas.height = H * dpr;
  const c = canvas.getContext("2d"),
    css = getComputedStyle(document.documentElement),
    ink = (n) => css.getPropertyValue("--" + n).trim();
  c.setTransform(dpr, 0, 0, dpr, 0, 0);
  c.lineJoin = "round";
  RAMP = lightness() && !print ? DATA.ramp : [...DATA.ramp].reverse(); // more loss, more ink; on a dark page more light
  const same = $("#same") && $("#same").checked,
    flat = same ? DATA.surfaces.flatMap((s) => s.z.flat()) : d.z.flat(),
    lo = Math.min(...flat),
    hi = Math.max(...flat);
  const cy = Math.cos(camera.yaw),
    sy = Math.sin(camera.yaw),
    cp = Math.cos(camera.pitch),
    sp = Math.sin(camera.pitch),
    k = Math.min((W - 64) / 2.84, (H - 40) / 2.22),
    high = 1.05 * camera.tall;
  const X = (i) => (2 * i) / (N - 1) - 1,
    Zof = (v) => ((v - lo) / (hi - lo || 1)) * high - 0.5;
  const P = (x, y, z) => [W / 2 + 14 + k * (x * cy - y * sy), H * 0.5 - 4 - k * ((x * sy + y * cy) * sp + z * cp)];
  const stroke = (pts, color, width, dash) => {
    c.beginPath();
    pts.forEach((p, i) => (i ? c.lineTo(...p) : c.moveTo(...p)));
    c.strokeStyle = color;
    c.lineWidth = width;
    c.setLineDash(dash || []);
    c.stroke();
  };
  const floor = [
      [-1, -1],
      [1, -1],
      [1, 1],
      [-1, 1],
    ],
    F = floor.map(([x, y]) => P(x, y, -0.5));
  c.beginPath();
  F.forEach((p, i) => (i ? c.lineTo(...p) : c.moveTo(...p)));
  c.closePath();
  c.fillStyle = ink("wash");
  c.fill();
  for (let t = -1; t <= 1.01; t += 0.5) {
    stroke([P(t, -1, -0.5), P(t, 1, -0.5)], ink("rule"), 1);
    stroke([P(-1, t, -0.5), P(1, t, -0.5)], ink("rule"), 1);
  }
  // points, colours, and light from the upper left
  const pts = [],
    is = [...Array(N - 1).keys()],
    js = [...Array(N - 1).keys()];
  for (let i = 0; i < N; i++) {
    pts.push([]);
    for (let j = 0; j < N; j++) pts[i].push(P(X(i), X(j), Zof(d.z[i][j])));
  }
  if (sy > 0) is.reverse();
  if (cy > 0) js.reverse();
  const h = 2 / (N - 1),
    L = [-0.55 * cy - 0.45 * sy, 0.55 * sy - 0.45 * cy, 0.72],
    a = ((N - 1) / 2) * (1 - d.eps / d.reach),
    lowE = Math.round(a),
    highE = N - 1 - lowE;
  const square = RAMP === DATA.ramp ? "#fff" : "#111";
  for (const i of is)
    for (const j of js) {
      const z00 = d.z[i][j],
        z10 = d.z[i + 1][j],
        z01 = d.z[i][j + 1],
        z11 = d.z[i + 1][j + 1],
        s = high / (hi - lo || 1) / 2 / h;
      const nx = -(z10 + z11 - z00 - z01) * s,
        ny = -(z01 + z11 - z00 - z10) * s,
        len = Math.hypot(nx, ny, 1),
        lit = 0.8 + 0.24 * ((nx * L[0] + ny * L[1] + L[2]) / len);
      const rgb = mix(((z00 + z10 + z01 + z11) / 4 - lo) / (hi - lo || 1)).map((v) =>
        Math.round(Math.min(255, v * lit)),
      );
      const q = [pts[i][j], pts[i + 1][j], pts[i + 1][j + 1], pts[i][j + 1]];
      c.beginPath();
      q.forEach((p, n) => (n ? c.lineTo(...p) : c.moveTo(...p)));
      c.closePath();
      c.fillStyle = c.strokeStyle = `rgb(${rgb})`;
      c.lineWidth = 0.7;
      c.setLineDash([]);
      c.fill();
      c.stroke();
      c.globalAlpha = 0.2;
      if (i % 5 === 0) stroke([q[0], q[3]], "#000", 0.6);
      if (j % 5 === 0) stroke([q[0], q[1]], "#000", 0.6);
      c.globalAlpha = 1;
      const inI = i >= lowE && i < highE,
        inJ = j >= lowE && j < highE;
      if (inJ && i === lowE) stroke([q[0], q[3]], square, 2);
      if (inJ && i + 1 === highE) stroke([q[1], q[2]], square, 2);
      if (inI && j === lowE) stroke([q[0], q[1]], square, 2);
      if (inI && j + 1 === highE) stroke([q[3], q[2]], square, 2);
    }
  const mid = pts[(N - 1) / 2][(N - 1) / 2];
  c.beginPath();
  c.arc(mid[0], mid[1], 3.2, 0, 7);
  c.fillStyle = "#fff";
  c.fill();
  c.strokeStyle = "#111";
  c.lineWidth = 1.3;
  c.setLineDash([]);
  c.stroke();
  // axes on the edges nearest to the reader
  const depth = (x, y) => x * sy + y * cy,
    near = floor.reduce((m, p) => (depth(...p) < depth(...m) ? p : m)),
    size = Math.max(10.5, Math.min(12, W / 30));
  c.font = size + "px " + getComputedStyle(document.body).fontFamily;
  c.textBaseline = "middle";
  const label = (p, text, color, align) => {
    c.fillStyle = color;
    c.textAlign = align || "center";
    c.fillText(text, ...p);
  };
  const out = (p, q, far) => {
    const dx = p[0] - q[0],
      dy = p[1] - q[1],
      l = Math.hypot(dx, dy) || 1;
    return [p[0] + (dx / l) * far, p[1] + (dy / l) * far];
  };
  const left = floor.reduce((m, p) => (P(...p, 0)[0] < P(...m, 0)[0] ? p : m)),
    foot = P(...left, -0.5);
  for (const axis of [0, 1]) {
    const other = axis ? near[0] : near[1],
      at = (t, o) => (axis ? P(o, t, -0.5) : P(t, o, -0.5));
    stroke([at(-1, other), at(1, other)], ink("ink3"), 1);
    for (const t of [-1, -0.5, 0, 0.5]) {
      const p = at(t, other),
        o = out(p, at(t, 0), 12);
      stroke([p, out(p, at(t, 0), 4)], ink("ink3"), 1);
      if (Math.hypot(p[0] - foot[0], p[1] - foot[1]) > 2) label(o, String(Math.round(t * d.reach)), ink("ink3"));
    }
    label(out(at(0.86, other), at(0.86, 0), 15), axis ? "t" : "s", ink("ink2"));
  }
  const zs = nice(lo, hi);
  stroke([P(...left, -0.5), P(...left, high - 0.5)], ink("ink3"), 1);
  for (const v of zs) {
    const p = P(...left, Zof(v));
    stroke([p, [p[0] - 4, p[1]]], ink("ink3"), 1);
    label([p[0] - 7, p[1]], String(v), ink("ink3"), "right");
  }
  const topz = P(...left, high - 0.5);
  label([topz[0], topz[1] - 12], "loss", ink("ink2"), "left");
};
const canvases = $$("canvas.s3");
let queued = false;
function redraw(print) {
  if (print === true) return canvases.forEach((c) => paint(c, true));
  if (!queued) {
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      canvases.forEach((c) => paint(c));
    });
  }
}
for (const c of canvases) {
  let from = null;
  c.addEventListener("pointerdown", (e) => {
    from = [e.clientX, e.clientY];
    c.setPointerCapture(e.pointerId);
  });
  c.addEventListener("pointermove", (e) => {
    if (!from) return;
    camera.yaw += (e.clientX - from[0]) * 0.008;
    if (e.pointerType !== "touch")
      camera.pitch = Math.max(0.08, Math.min(1.5, camera.pitch + (e.clientY - from[1]) * 0.006));
    from = [e.clientX, e.clientY];
    redraw();
  });
  for (const end of ["pointerup", "pointercancel"])
    c.addEventListener(end, () => {
      from = null;
    });
  c.addEventListener("keydown", (e) => {
    const turn = {
      ArrowLeft: ["yaw", -0.1],
      ArrowRight: ["yaw", 0.1],
      ArrowUp: ["pitch", 0.08],
      ArrowDown: ["pitch", -0.08],
      "+": ["tall", 0.1],
      "=": ["tall", 0.1],
      "-": ["tall", -0.1],
    }[e.key];
    if (e.key === "Home") Object.assign(camera, START);
    else if (turn) camera[turn[0]] += turn[1];
    else return;
    camera.pitch = Math.max(0.08, Math.min(1.5, camera.pitch));
    camera.tall = Math.max(0.2, Math.min(1.6, camera.tall));
    e.preventDefault();
    redraw();
  });
}
