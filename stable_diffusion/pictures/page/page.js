"use strict";
// What is shown is text or pixels, never HTML made of data.
const data = JSON.parse(document.getElementById("data").textContent);
const { kind, lines } = data;
const isLadder = kind === "triangle" || kind === "pyramid"; // its lines are strengths
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const range = (count) => Array.from({ length: count }, (_, i) => i);
const filled = (made, attributes, text) => {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return Object.assign(made, { textContent: text });
};
const element = (name, attributes = {}, text = "") => filled(document.createElement(name), attributes, text);
const shape = (name, attributes = {}, text = "") =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, text);

// Cells: a line and one of its frames. Each line begins at the original, where there is one.
for (const { frames } of lines) {
  if (data.original === null || frames[0].label === "original") continue;
  frames.unshift({ label: "original", sigma: 0, step: Math.min(0, frames[0].step) - 1, noisy: data.original });
}
const ladder = range(lines.length).sort((a, b) => (lines[a].strength ?? 0) - (lines[b].strength ?? 0));
const frameOf = (cell) => lines[cell.line].frames[cell.frame];
const lastOf = (line) => ({ line, frame: lines[line].frames.length - 1 });
const startOf = (line) => Math.max(0, lines[line].frames.findIndex((frame) => frame.step >= 0));
const isOriginal = (cell) => frameOf(cell).label === "original";
const isShared = (cell) => kind === "triangle" && isOriginal(cell); // by all lines, at the foot
const isSame = (a, b) => Boolean(a && b) && (isShared(a) ? isShared(b) : a.line === b.line && a.frame === b.frame);
const hasWayIn = (line) => lines[line].frames.some((frame) => frame.step < 0 && frame.label !== "original");
const hasBoth = (cell) => "clean" in frameOf(cell) && "noisy" in frameOf(cell);
const anyHasBoth = lines.some((line, i) => line.frames.some((_, frame) => hasBoth({ line: i, frame })));
const pictureOf = (cell, clean) =>
  clean ? frameOf(cell).clean ?? frameOf(cell).noisy : frameOf(cell).noisy ?? frameOf(cell).clean;

/** The way of a line: from the original to its start, and through its steps. In a triangle, where lines have no ways in
 * of their own, the starts of the weaker lines are the way in: the L. */
function wayOf(line) {
  const own = lines[line].frames.map((_, frame) => ({ line, frame }));
  if (kind !== "triangle" || hasWayIn(line)) return own;
  const weaker = ladder.filter((other) => lines[other].strength < lines[line].strength && lines[other].strength > 0);
  const starts = weaker.map((other) => ({ line: other, frame: startOf(other) }));
  return [...own.slice(0, startOf(line)), ...starts, ...own.slice(startOf(line))];
}

/** What stays where the line changes: "original", "finished", or the number of a step. */
const momentOf = (cell) =>
  isOriginal(cell) ? "original" : cell.frame === lastOf(cell.line).frame ? "finished" : frameOf(cell).step;
function matching(line, moment) {
  if (moment === "finished") return lastOf(line);
  const apart = lines[line].frames.map(({ label, step }) => (label === "original" ? 1e9 : Math.abs(step - moment)));
  return { line, frame: moment === "original" ? 0 : apart.indexOf(Math.min(...apart)) };
}

// The view: what the address says, and what lasts a moment.
const MODES = ["off", "wipe", "difference", "flicker"];
const GAINS = [1, 2, 4, 8, 16];
const first = lastOf(isLadder ? ladder[lines.length >> 1] : 0);
const view = { cell: first, way: first.line, clean: false, zoom: 1, x: 0.5, y: 0.5 }; // x, y: see zoomAt
Object.assign(view, { a: null, mode: "off", wipe: 0.5, gain: 4 }); // a: a cell, and whether it is clean
let moment = momentOf(first);
let hovered = null; // a cell under the mouse
let blend = null; // { from, to, share }: between two cells
let isFlipped = false; // flicker shows A
let playing = null; // { axis, at, since }
const shown = () => hovered ?? view.cell;
function show(cell, way = cell.line, keepsMoment = false) {
  [view.cell, view.way] = [cell, way];
  if (!keepsMoment) moment = momentOf(cell);
  hovered = blend = null;
  update();
}
const halt = () => ((playing = blend = null), update());
function toHash() {
  const words = [`cell=${view.cell.line}.${view.cell.frame}`];
  if (view.way !== view.cell.line) words.push(`way=${view.way}`);
  if (view.clean) words.push("clean=1");
  if (view.a) words.push(`a=${view.a.line}.${view.a.frame}${view.a.clean ? ".clean" : ""}`);
  if (view.mode !== "off") words.push(`mode=${view.mode}`, `wipe=${view.wipe.toFixed(3)}`, `gain=${view.gain}`);
  if (view.zoom !== 1) words.push(`zoom=${[view.zoom, view.x, view.y].map((n) => +n.toFixed(4)).join(",")}`);
  return `#${words.join("&")}`;
}

/** Take from the address what can be understood; the rest is as at the beginning. */
function fromHash() {
  const words = new Map(location.hash.slice(1).split("&").map((word) => word.split("=")));
  const said = (name) => words.get(name) ?? "";
  const cellOf = (word) => {
    const [, line, frame, clean] = /^(\d+)\.(\d+)(\.clean)?$/.exec(word) ?? [];
    return lines[line]?.frames[frame] ? { line: +line, frame: +frame, clean: Boolean(clean) } : null;
  };
  const number = (word, low, high, other) => (/^\d+(\.\d+)?$/.test(word ?? "") ? clamp(+word, low, high) : other);
  const cell = cellOf(said("cell")) ?? first;
  const way = /^\d+$/.test(said("way")) && lines[said("way")] ? Number(said("way")) : cell.line;
  view.cell = { line: cell.line, frame: cell.frame };
  view.way = wayOf(way).some((stop) => isSame(stop, cell)) ? way : cell.line;
  view.clean = anyHasBoth && said("clean") === "1";
  view.a = cellOf(said("a"));
  view.mode = view.a && MODES.includes(said("mode")) ? said("mode") : "off";
  view.wipe = number(said("wipe"), 0, 1, 0.5);
  view.gain = GAINS.includes(Number(said("gain"))) ? Number(said("gain")) : 4;
  const [zoom, x, y] = said("zoom").split(",");
  [view.zoom, view.x, view.y] = [number(zoom, 0.01, 1000, 1), number(x, 0, 1, 0.5), number(y, 0, 1, 0.5)];
  moment = momentOf(view.cell);
  hovered = blend = playing = null;
  update();
}

/** Do something a while after it was asked for last. */
const later = (milliseconds, action, timer = 0) => (...given) => {
  clearTimeout(timer);
  timer = setTimeout(action, milliseconds, ...given);
};
const keepHash = later(250, () => history.replaceState(null, "", toHash())); // browsers refuse it all the time
const announce = later(400, (text) => ($("live").textContent = text));
const endToast = later(2500, () => $("toast").classList.remove("shown"));
const toast = (text) => (($("toast").textContent = text), $("toast").classList.add("shown"), endToast());

// Pictures, decoded when they are wanted.
const images = new Map();
const loads = new Map();
function load(number) {
  if (!loads.has(number)) {
    const img = new Image();
    img.src = `data:image/webp;base64,${data.pictures[number].webp}`;
    const done = () => (images.set(number, img), paint(), img);
    loads.set(number, img.decode().then(done, () => toast("A picture in this page is damaged")));
  }
  return loads.get(number);
}
const imageOf = (cell, clean) => (load(pictureOf(cell, clean)), images.get(pictureOf(cell, clean)));

// The stage: a canvas that is painted whole, at most once a frame.
const stage = $("stage");
const context = $("canvas").getContext("2d");
let last = null; // the picture painted last, for as long as the next one is not decoded
let due = 0; // a request to paint
const paint = () => (due ||= requestAnimationFrame(painted));
const density = () => window.devicePixelRatio || 1;
const fitScale = (img) => Math.min(stage.clientWidth / img.naturalWidth, stage.clientHeight / img.naturalHeight);
const actualZoom = (img) => 1 / (fitScale(img) * density()); // at which a pixel is a pixel
const limited = (zoom, img) => clamp(zoom, Math.min(1, actualZoom(img)), Math.max(8, 64 * actualZoom(img)));

/** Where the picture lies on the stage, in CSS pixels; scale: of them, for each of the picture's. */
function rectOf(img) {
  const scale = fitScale(img) * limited(view.zoom, img);
  const [w, h] = [img.naturalWidth * scale, img.naturalHeight * scale];
  const start = (at, size, room) => (size <= room ? (room - size) / 2 : clamp(room / 2 - at * size, room - size, 0));
  return { left: start(view.x, w, stage.clientWidth), top: start(view.y, h, stage.clientHeight), w, h, scale };
}
function painted() {
  due = 0;
  const [width, height, ratio] = [stage.clientWidth, stage.clientHeight, density()];
  sized($("canvas"), width, height);
  const a = view.a && imageOf(view.a, view.a.clean);
  const b = imageOf(blend ? blend.from : shown(), view.clean) ?? last;
  const to = blend && imageOf(blend.to, view.clean);
  last = b;
  if (!b) return;
  const rect = rectOf(b);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = view.zoom < 2 || rect.scale * ratio < 4; // looked at closely, pixels are squares
  context.imageSmoothingQuality = "high";
  const draw = (img, alpha = 1) => {
    context.globalAlpha = alpha;
    context.drawImage(img, rect.left, rect.top, rect.w, rect.h);
  };
  const showsA = a && view.mode === "flicker" && isFlipped;
  draw(a && view.mode === "difference" ? difference(a, b) : showsA ? a : b);
  if (to && !showsA && view.mode !== "difference") draw(to, blend.share);
  const { at } = wipeLine(rect);
  const share = (at - rect.left) / rect.w;
  if (a && view.mode === "wipe" && share > 0) {
    context.drawImage(a, 0, 0, a.naturalWidth * share, a.naturalHeight, rect.left, rect.top, rect.w * share, rect.h);
  }
  $("wipe").style.left = `${at}px`;
  $("wipe").setAttribute("aria-valuenow", Math.round(100 * view.wipe));
  stage.classList.toggle("zoomed", rect.w > width + 1 || rect.h > height + 1);
  $("zoom").textContent = `${Math.round(100 * rect.scale * ratio)} %`;
}
function sized(canvas, width, height) {
  const [w, h] = [Math.round(width * density()), Math.round(height * density())];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
}

/** The line between A and B crosses what is seen of the picture. */
function wipeLine(rect) {
  const [left, right] = [Math.max(0, rect.left), Math.min(stage.clientWidth, rect.left + rect.w)];
  return { at: left + view.wipe * (right - left), left, right };
}
let differed = {};
/** |A - B|, amplified, at the size of B; and how large it is, in words. */
function difference(a, b) {
  if (differed.a === a && differed.b === b && differed.gain === view.gain) return differed.canvas;
  const [width, height] = [b.naturalWidth, b.naturalHeight];
  const flat = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  const pixels = (img) => (flat.drawImage(img, 0, 0, width, height), flat.getImageData(0, 0, width, height));
  const [one, two] = [pixels(a), pixels(b)];
  let [sum, squares] = [0, 0];
  for (let i = 0; i < one.data.length; i++) {
    if (i % 4 === 3) continue; // opacity
    const apart = Math.abs(one.data[i] - two.data[i]);
    [sum, squares] = [sum + apart, squares + apart * apart];
    two.data[i] = apart * view.gain;
  }
  flat.putImageData(two, 0, 0);
  const count = 3 * width * height;
  const decibels = squares ? `PSNR ${(10 * Math.log10((255 ** 2 * count) / squares)).toFixed(1)} dB` : "no difference";
  const words = `mean ${((100 * sum) / count / 255).toFixed(2)} %, ${decibels}`;
  differed = { a, b, gain: view.gain, canvas: flat.canvas, words };
  showTags();
  return flat.canvas;
}

// Zoom and pan: view.x, view.y is the point of the picture in the middle of the stage.
/** Zoom by a factor about a point of the stage, which moves by some pixels. */
function zoomAt(x, y, factor, dx = 0, dy = 0) {
  if (!last) return;
  const before = rectOf(last);
  view.zoom = limited(limited(view.zoom, last) * factor, last);
  const { w, h } = rectOf(last);
  view.x = (stage.clientWidth / 2 - x - dx) / w + (x - before.left) / before.w;
  view.y = (stage.clientHeight / 2 - y - dy) / h + (y - before.top) / before.h;
  const { left, top } = rectOf(last); // not beyond the edges
  view.x = w <= stage.clientWidth ? 0.5 : (stage.clientWidth / 2 - left) / w;
  view.y = h <= stage.clientHeight ? 0.5 : (stage.clientHeight / 2 - top) / h;
  paint();
  keepHash();
}
const zoomBy = (factor) => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, factor);
const [smaller, larger] = [() => zoomBy(0.8), () => zoomBy(1.25)];
const pan = (dx, dy) => zoomAt(0, 0, 1, dx * stage.clientWidth, dy * stage.clientHeight);
const fit = () => zoomBy(1 / view.zoom);
const actual = () => last && zoomBy(actualZoom(last) / view.zoom);
const fingers = new Map();
let tap = { time: -1e9 };

/** The middle of the fingers, and how far they are apart. */
function grip() {
  const [one, two = one] = [...fingers.values()];
  return { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, spread: Math.hypot(one.x - two.x, one.y - two.y) || 1 };
}
const within = (part, event, box = part.getBoundingClientRect()) =>
  ({ x: event.clientX - box.left, y: event.clientY - box.top });
const release = (event) => fingers.delete(event.pointerId);
stage.addEventListener("pointerdown", (event) => {
  if (event.button || event.target.closest("#wipe")) return;
  stage.setPointerCapture(event.pointerId);
  const at = within(stage, event);
  fingers.set(event.pointerId, at);
  const isNear = Math.hypot(at.x - tap.x, at.y - tap.y) < 24 && fingers.size === 1;
  const isSecond = isNear && event.timeStamp - tap.time < 350;
  tap = { ...at, time: isSecond ? -1e9 : event.timeStamp };
  if (isSecond && last) zoomAt(at.x, at.y, (view.zoom > 1.01 ? 1 : Math.max(4, actualZoom(last))) / view.zoom);
});
stage.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const before = grip();
  fingers.set(event.pointerId, within(stage, event));
  const after = grip();
  zoomAt(before.x, before.y, after.spread / before.spread, after.x - before.x, after.y - before.y);
});
for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, release);
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const { x, y } = within(stage, event);
  const by = clamp(event.deltaY * (event.deltaMode ? 20 : 1), -120, 120);
  zoomAt(x, y, Math.exp(-by * (event.ctrlKey ? 0.01 : 0.002))); // a pinch on a touchpad comes as ctrl and wheel
}, { passive: false });

// Comparing
function compare(mode) {
  // What one mostly wants to compare with is the original.
  const foot = { line: view.way, frame: 0, clean: false };
  view.a ??= isOriginal(foot) ? foot : { ...view.cell, clean: view.clean };
  view.mode = view.mode === mode ? "off" : mode;
  isFlipped = false;
  update();
}
const isPinned = () => isSame(view.a, view.cell) && view.a.clean === view.clean;
function pin() {
  view.a = isPinned() ? null : { ...view.cell, clean: view.clean };
  if (!view.a) view.mode = "off";
  update();
}
const swap = () => ((isFlipped = view.mode === "flicker" && !isFlipped), showTags(), paint());
setInterval(() => view.mode === "flicker" && !calm.matches && swap(), 500); // far slower than what may harm anybody
const amplify = (by) => ((view.gain = GAINS[clamp(GAINS.indexOf(view.gain) + by, 0, GAINS.length - 1)]), update());
const wipeTo = (share) => ((view.wipe = clamp(share, 0, 1)), paint(), keepHash());
$("wipe").addEventListener("pointerdown", (event) => $("wipe").setPointerCapture(event.pointerId));
$("wipe").addEventListener("pointermove", (event) => {
  if (!$("wipe").hasPointerCapture(event.pointerId)) return;
  const { left, right } = wipeLine(rectOf(last));
  wipeTo((within(stage, event).x - left) / (right - left));
});
onArrows($("wipe"), (by) => wipeTo(view.wipe + 0.02 * by));
/** What the keys of a slider do: by 1 or -1, and by more than it is long for Home and End. */
function onArrows(slider, action) {
  slider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -1e6, End: 1e6 }[event.key];
    if (!by || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    action(by);
  });
}

// Axes: each has a scrubber, and a cell at every stop.
const across = (sought, chosen) => chosen.map((line) => matching(line, sought));
const alike = (side, other) => range(lines.length).filter((line) => lines[line][side] === lines[view.cell.line][side])
  .sort((a, b) => lines[a][other] - lines[b][other]);
const word = (names, side) => ({ line }) => names[lines[line][side]] ?? lines[line].heading;
const strengthOf = (line) => String(lines[line].strength ?? lines[line].heading);
const STEP = { name: "Step", cells: () => wayOf(view.way), word: (cell) => frameOf(cell).label };
const rung = () => (kind === "triangle" && moment === "original" ? 0 : moment); // all strengths share that original
const AXES = {
  ladder: [{ name: "Strength", cells: () => across(rung(), ladder), word: ({ line }) => strengthOf(line) }],
  grid: [
    { name: "Column", cells: () => across(moment, alike("row", "column")), word: word(data.columns, "column") },
    { name: "Row", cells: () => across(moment, alike("column", "row")), word: word(data.rows, "row") },
  ],
  list: [{ name: "Picture", cells: () => across(moment, range(lines.length)), word: word([], "row") }],
};
const axes = [STEP, ...(AXES[isLadder ? "ladder" : kind] ?? AXES.list)];
const indexOn = (axis) => Math.max(0, axis.cells().findIndex((cell) =>
  axis === STEP ? isSame(cell, view.cell) : cell.line === view.cell.line));
function goTo(axis, index) {
  const cell = axis.cells()[clamp(index, 0, axis.cells().length - 1)];
  show(cell, axis === STEP ? view.way : cell.line, axis !== STEP);
}
for (const [number, axis] of axes.entries()) {
  const id = `scrubber-${number}`;
  axis.row = element("div", { class: "scrubber" });
  axis.input = element("input", { id, type: "range", min: 0, step: "any" });
  axis.output = element("output", { for: id });
  axis.row.append(element("label", { for: id }, axis.name), axis.input, axis.output);
  $("scrubbers").append(axis.row);
  axis.input.addEventListener("input", () => { // between two stops the nearer one is chosen, and both are seen
    const [value, cells] = [Number(axis.input.value), axis.cells()];
    axis.isDragged = true;
    halt();
    goTo(axis, Math.round(value));
    const low = Math.floor(value);
    if (value > low) blend = { from: cells[low], to: cells[low + 1], share: value - low };
  });
  axis.input.addEventListener("change", () => ((axis.isDragged = false), goTo(axis, Math.round(axis.input.value))));
  onArrows(axis.input, (by) => (halt(), goTo(axis, indexOn(axis) + by)));
}
function showScrubbers() {
  for (const axis of axes) {
    const [cells, index] = [axis.cells(), indexOn(axis)];
    const text = axis.word(cells[index]);
    const turn = axis === STEP ? cells.findIndex((cell) => cell.line === view.way && frameOf(cell).step === 0) : -1;
    axis.row.hidden = cells.length < 2;
    axis.input.max = cells.length - 1;
    if (!axis.isDragged) axis.input.value = index;
    axis.input.setAttribute("aria-valuetext", text);
    axis.output.textContent = axis.output.title = text;
    axis.input.style.setProperty("--gaps", Math.max(1, cells.length - 1));
    axis.input.style.setProperty("--turn", turn > 0 ? turn / (cells.length - 1) : -9);
  }
}

// Playing: along the way, or, where that is one picture, along the next axis.
const HOLD = 1200; // milliseconds, at both ends
const playAxis = () => axes.find((axis) => axis.cells().length > 1);
function togglePlay() {
  const axis = playAxis();
  playing = playing || !axis ? null : { axis, at: indexOn(axis), since: performance.now() };
  if (playing && playing.at === axis.cells().length - 1) goTo(axis, (playing.at = 0));
  if (playing) requestAnimationFrame(tick);
  blend = null;
  update();
}
function tick(now) {
  if (!playing) return;
  const { axis, at, since } = playing;
  const cells = axis.cells();
  const isEnd = at === cells.length - 1;
  const share = ((now - since - (isEnd || !at ? HOLD : 0)) * Number($("speed").value)) / 1000;
  if (isEnd ? share > 0 : share >= 1) {
    Object.assign(playing, { at: isEnd ? 0 : at + 1, since: now });
    goTo(axis, playing.at);
  } else if (share > 0 && !calm.matches) {
    blend = { from: cells[at], to: cells[at + 1], share };
    paint();
  }
  requestAnimationFrame(tick);
}

// The map: small pictures on a canvas, the way under it, marks over it.
const headings = { beside: [], above: [] };
const places = []; // { line, frame, column, row } of each cell that is on it, and { x, y, w, h, gap } in CSS pixels
const put = (line, row, column, from = lastOf(line).frame) => places.push(
  ...range(lines[line].frames.length - from).map((i) => ({ line, frame: from + i, row, column: column + i })));
const SHEETS = {
  triangle() {
    const rows = [...ladder].reverse();
    for (const [row, line] of rows.entries()) put(line, row, 0, startOf(line));
    const foot = { line: ladder[0], frame: 0, row: rows.length, column: 0 };
    headings.beside = [...rows.map(strengthOf), ""];
    if (isOriginal(foot) && lines[ladder[0]].frames.length > 1) places.push(foot);
  },
  pyramid() {
    const left = Math.max(...ladder.map(startOf));
    for (const [row, line] of ladder.entries()) put(line, row, left - startOf(line), 0);
    headings.beside = ladder.map(strengthOf);
  },
  grid() {
    for (const [line, { row, column }] of lines.entries()) put(line, row, column);
    [headings.beside, headings.above] = [data.rows, data.columns];
  },
  list() {
    const parents = range(lines.length).filter((line) => kind === "family" && lines[line].row === 0);
    const rest = range(lines.length).filter((line) => !parents.includes(line));
    const columns = Math.max(parents.length, clamp(Math.ceil(Math.sqrt(1.4 * rest.length)), 1, 10));
    for (const [i, line] of parents.entries()) put(line, 0, i + (columns - parents.length) / 2);
    for (const [i, line] of rest.entries()) put(line, Math.floor(i / columns) + (parents.length ? 1 : 0), i % columns);
  },
};
const em = () => parseFloat(getComputedStyle(document.body).fontSize);

/** Headings that can be read, and the largest cells that there is room for. */
function layMap() {
  const [width, e] = [$("map").clientWidth, em()];
  const [columns, rows] = ["column", "row"].map((side) => 1 + Math.max(...places.map((place) => place[side])));
  const longest = Math.max(0, ...headings.beside.map((text) => text.length));
  const left = longest ? clamp((0.55 * longest + 0.6) * e, 1.8 * e, 0.26 * width) : 4;
  const top = headings.above.length ? 2.6 * e : 4;
  const gap = width / columns > 2 * e ? Math.round(0.29 * e) : 2;
  const w = Math.min((width - left - 4) / columns - gap, 11 * e);
  const sizes = places.map((place) => data.pictures[pictureOf(place)]);
  const h = w * Math.min(2, Math.max(...sizes.map((size) => size.height / size.width)));
  for (const place of places) {
    const [x, y] = [left + place.column * (w + gap), top + place.row * (h + gap)];
    Object.assign(place, { x, y, w, h, gap, drawn: null });
  }
  const height = top + rows * (h + gap);
  $("map").style.height = `${height}px`;
  sized($("thumbs"), width, height);
  const thumbs = $("thumbs").getContext("2d");
  thumbs.setTransform(density(), 0, 0, density(), 0, 0);
  thumbs.fillStyle = getComputedStyle(stage).backgroundColor;
  for (const place of places) thumbs.fillRect(place.x, place.y, w, h);
  const heading = (side, text, at, box) => {
    const made = element("div", { class: side, title: text, "data-at": at }, text);
    for (const [name, value] of Object.entries(box)) made.style[name] = `${value}px`;
    return made;
  };
  const middle = Math.max(0, h / 2 - 0.5 * e);
  $("headings").replaceChildren(
    ...headings.beside.map((text, row) => heading("beside", text, row,
      { left: 0, width: left - 0.5 * e, top: top + row * (h + gap) + middle, maxHeight: Math.max(h, 1.1 * e) })),
    ...headings.above.map((text, column) => heading("above", text, column,
      { left: left + column * (w + gap), width: w, bottom: height - top + 3 })));
  drawThumbs();
}
let turns = 0;
async function drawThumbs() {
  const turn = ++turns; // another one may begin before this one ends
  const drawn = $("thumbs").getContext("2d");
  for (const [i, place] of places.entries()) {
    if (places[i + 8]) load(pictureOf(places[i + 8], view.clean)); // several at once
    const img = await load(pictureOf(place, view.clean));
    if (turn !== turns) return;
    if (!img || place.drawn === img) continue;
    const scale = Math.min(place.w / img.naturalWidth, place.h / img.naturalHeight);
    const [w, h] = [img.naturalWidth * scale, img.naturalHeight * scale];
    drawn.imageSmoothingQuality = "high";
    drawn.clearRect(place.x, place.y, place.w, place.h);
    drawn.drawImage(img, place.x + (place.w - w) / 2, place.y + (place.h - h) / 2, w, h);
    place.drawn = img;
  }
}

/** Where a cell is on the map. What has no place of its own: in a triangle, between the original and the start. */
function placeOf(cell) {
  const found = places.find((place) => isSame(place, cell));
  if (found) return found;
  const own = places.find((place) => place.line === cell.line);
  if (kind !== "triangle" || cell.frame >= startOf(cell.line)) return own;
  const foot = places[places.length - 1];
  return { ...own, y: foot.y + ((own.y - foot.y) * cell.frame) / startOf(cell.line) };
}
function showMarks() {
  const box = (place, by, name) => shape("rect",
    { class: name, x: place.x - by, y: place.y - by, width: place.w + 2 * by, height: place.h + 2 * by });
  const way = isLadder ? wayOf(view.way).map(placeOf) : [];
  // Boxes around each two neighbours, by as much as the gap: together they are the frame of the way.
  $("way").replaceChildren(...way.map((one, i) => {
    const two = way[i + 1] ?? one;
    const [x, y, by] = [Math.min(one.x, two.x), Math.min(one.y, two.y), one.gap];
    return box({ x, y, w: Math.max(one.x, two.x) + one.w - x, h: Math.max(one.y, two.y) + one.h - y }, by, "");
  }));
  const here = placeOf(view.cell);
  $("marks").replaceChildren(
    ...(view.a ? [box(placeOf(view.a), 1.5, "under"), box(placeOf(view.a), 1.5, "pinned")] : []),
    ...(hovered ? [box(placeOf(hovered), 0, "hovered")] : []),
    box(here, 1.5, "under"), box(here, 1.5, "here"));
  for (const heading of $("headings").children) {
    const at = heading.className.startsWith("beside") ? here.row : here.column;
    heading.classList.toggle("chosen", Number(heading.dataset.at) === at);
  }
  $("map").setAttribute("aria-label", `Map of ${places.length} pictures: ${described(view.cell, view.clean)}`);
}
function cellUnder(event) {
  const { x, y } = within($("map"), event);
  const found = places.find((place) => Math.abs(x - place.x - place.w / 2) <= (place.w + place.gap) / 2
    && Math.abs(y - place.y - place.h / 2) <= (place.h + place.gap) / 2);
  return found ? (isShared(found) ? { line: view.way, frame: 0 } : { line: found.line, frame: found.frame }) : null;
}
const hover = (cell) => isSame(cell, hovered) || cell === hovered || ([hovered, blend] = [cell, null], update());
$("map").addEventListener("pointermove", (event) => event.pointerType === "mouse" && hover(cellUnder(event)));
$("map").addEventListener("pointerleave", () => hover(null));
$("map").addEventListener("click", (event) => (halt(), cellUnder(event) && show(cellUnder(event))));

// The plan: sigma of every level on a log axis, the way in before it.
function showPlan() {
  const { levels, heading } = lines[view.way];
  const stops = wayOf(view.way).map((cell) => ({ cell, sigma: frameOf(cell).sigma, step: frameOf(cell).step }));
  const start = Math.max(0, stops.findIndex((stop) => stop.step >= 0 && stop.cell.line === view.way));
  for (const [i, stop] of stops.entries()) stop.x = i < start ? i : start + stop.step;
  const ahead = levels.length ? levels.map((sigma, i) => ({ x: start + i, sigma })) : stops.slice(start);
  const points = [...stops.slice(0, start), ...ahead];
  const logs = points.filter((point) => point.sigma > 0).map((point) => Math.log10(point.sigma));
  $("plan-part").hidden = !logs.length;
  if (!logs.length) return;
  const [width, height, e] = [$("plan").clientWidth, $("plan").clientHeight, em()];
  const [left, right, top, low, zero] = [3 * e, width - 0.6 * e, 0.6 * e, height - 3.3 * e, height - 1.8 * e];
  const [middle, half] = [(Math.max(...logs) + Math.min(...logs)) / 2, (Math.max(...logs) - Math.min(...logs)) / 2];
  const [least, most] = [middle - Math.max(0.25, half), middle + Math.max(0.25, half)];
  const end = Math.max(1, ...points.map((point) => point.x));
  const atX = (x) => left + ((right - left) * x) / end;
  const atLog = (log) => low - ((log - least) / (most - least)) * (low - top);
  // Nothing is infinitely far down a log axis: zero has a line of its own, below a break.
  const atY = (sigma) => (sigma === null ? top : sigma <= 0 ? zero : atLog(Math.log10(sigma)));
  const ticks = [];
  for (const log of range(60).map((i) => (Math.floor(i / 3) - 6) + Math.log10([1, 2, 5][i % 3]))) {
    const isApart = ticks.every((tick) => Math.abs(atLog(log) - atY(tick)) > 1.2 * e);
    if (log >= least - 0.05 && log <= most + 0.05 && isApart) ticks.push(10 ** log);
  }
  const text = (x, y, anchor, words) => shape("text", { x, y: y + 0.28 * e, "text-anchor": anchor }, words);
  const across = (y, name) => shape("line", { class: name, x1: left, x2: right, y1: y, y2: y });
  const made = [...ticks, 0].flatMap((sigma) =>
    [across(atY(sigma), "rule"), text(left - 0.5 * e, atY(sigma), "end", String(+sigma.toPrecision(2)))]);
  made.push(across((low + zero) / 2, "break"), text(0, top, "start", "σ"));
  const corners = points.map(({ x, sigma }) => `${atX(x)},${atY(sigma)}`).join(" ");
  made.push(shape("polyline", { class: "curve", points: corners }));
  const wide = atX(1) - atX(0);
  for (const { x, sigma } of ahead) made.push(shape("circle", { class: "stop", cx: atX(x), cy: atY(sigma), r: 1.5 }));
  for (const { cell, x, sigma } of stops) {
    const target = shape("rect", { class: "target", x: atX(x) - wide / 2, y: 0, width: wide, height });
    target.append(shape("title", {}, `${frameOf(cell).label}: σ ${rounded(sigma)}`));
    target.addEventListener("click", () => (halt(), show(cell, view.way)));
    made.push(shape("circle", { class: "stop", cx: atX(x), cy: atY(sigma), r: clamp(wide / 4, 1.5, 0.25 * e) }), target);
  }
  const now = stops.find((stop) => isSame(stop.cell, shown()));
  if (now) made.push(shape("circle", { class: "now", cx: atX(now.x), cy: atY(now.sigma), r: 0.4 * e }));
  const foot = (x, words, anchor) => made.push(text(atX(x), height - 0.5 * e, anchor, words));
  if (start > 0) foot(0, "original", "start");
  if (start === 0 || atX(start) - left > 6 * e) foot(start, "start", start ? "middle" : "start");
  const count = ahead.length - 1;
  if (count > 0 && right - atX(start) > 6 * e) foot(end, count === 1 ? "1 step" : `${count} steps`, "end");
  $("plan").replaceChildren(...made);
  $("plan").setAttribute("aria-label", `Noise levels: ${levels.map(rounded).join(", ")}`);
  $("plan-note").textContent = heading;
}

// Words
const rounded = (value) => (value === null ? "∞" : String(Number(value.toPrecision(value < 0.1 ? 3 : 4))));
const described = (cell, clean) => [isOriginal(cell) ? "" : lines[cell.line].heading, frameOf(cell).label,
  clean && hasBoth(cell) ? "clean" : ""].filter(Boolean).join(", ");
function showTags() {
  const isComparing = view.mode !== "off";
  const b = described(shown(), view.clean);
  const isApart = view.mode === "difference" && differed.words;
  const apart = isApart ? `|A − B| × ${view.gain}: ${differed.words}` : `B: ${b}`;
  const isA = isComparing && (view.mode !== "flicker" || isFlipped);
  const isB = isComparing ? view.mode !== "flicker" || !isFlipped : hovered;
  $("tag-a").textContent = isA ? `A: ${described(view.a, view.a.clean)}` : "";
  $("tag-b").textContent = isB ? (isComparing ? apart : b) : "";
  for (const tag of [$("tag-a"), $("tag-b")]) tag.hidden = !tag.textContent;
}
function showWords() {
  const cell = shown();
  const { label, sigma, step } = frameOf(cell);
  const { heading, times, about, command } = lines[cell.line];
  const time = Number.isFinite(times[step]) ? [`t ${Math.round(10 * times[step]) / 10}`] : [];
  const parts = isOriginal(cell) ? [] : [label, `σ ${rounded(sigma)}`, ...time];
  const name = element("b", {}, isOriginal(cell) ? label : heading);
  $("readout").replaceChildren(name, ...parts.map((part) => element("span", {}, part)));
  $("about").replaceChildren(...about.flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, value)]));
  $("command").textContent = command;
  const { width, height, inside } = data.pictures[pictureOf(cell, view.clean)];
  const [size, isSmaller] = [`${inside[0]} × ${inside[1]}`, inside[0] < width];
  $("save").textContent = isSmaller ? `Save PNG, ${size}` : "Save PNG";
  $("fineprint").textContent = [
    isSmaller ? `Pictures here are smaller than they were: this one ${size} of ${width} × ${height} pixels.`
      : `This picture is of its full size, ${size} pixels, ${data.exact ? "and exact" : "and compressed"}.`,
    data.said && `The page shows ${data.said}.`,
    data.exact ? "" : "The command makes the picture itself.",
  ].filter(Boolean).join(" ");
}
async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // missing or forbidden, in a page from a disk
    const area = document.body.appendChild(element("textarea", {}, text));
    const before = document.activeElement;
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    before.focus();
    if (!isCopied) return toast("This browser does not let pages copy: mark the text");
  }
  return toast(`${what} copied`);
}

// A PNG with the texts and chunks that belong to it: before the pixels, each with its check sum.
const CRCS = range(256).map((n) => range(8).reduce((c) => (c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1), n));
const crc = (bytes) => ~bytes.reduce((c, byte) => CRCS[(c ^ byte) & 255] ^ (c >>> 8), -1) >>> 0;
const latin = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
function chunk(name, content) {
  const made = new Uint8Array(content.length + 12);
  const numbers = new DataView(made.buffer);
  made.set(latin(name), 4);
  made.set(content, 8);
  numbers.setUint32(0, content.length);
  numbers.setUint32(content.length + 8, crc(made.subarray(4, -4)));
  return made;
}
const isLatin = (text) => /^[\u0000-\u00ff]*$/.test(text);
const textChunk = ([keyword, text]) => isLatin(text) ? chunk("tEXt", latin(`${keyword}\0${text}`))
  : chunk("iTXt", new TextEncoder().encode(`${keyword}\0\0\0\0\0${text}`));
function fileName(cell) {
  if (isOriginal(cell)) return `${kind}-original.png`;
  const { strength, row, column } = lines[cell.line];
  const { step } = frameOf(cell);
  const grid = kind === "grid" ? `row${row + 1}-column${column + 1}` : `picture${cell.line + 1}`;
  const count = `${step < 0 ? "noised" : "step"}${String(Math.abs(step)).padStart(3, "0")}`;
  const name = `${kind}-${isLadder ? `strength${strength}` : grid}-${count}`;
  return `${name}${view.clean && hasBoth(cell) ? "-clean" : ""}.png`;
}
async function save() {
  const { cell } = view;
  const [name, img, line] = [fileName(cell), await load(pictureOf(cell, view.clean)), lines[cell.line]];
  const flat = element("canvas", { width: img.naturalWidth, height: img.naturalHeight });
  flat.getContext("2d", { alpha: false }).drawImage(img, 0, 0);
  const bytes = new Uint8Array(await (await new Promise((done) => flat.toBlob(done))).arrayBuffer());
  const chunks = [...Object.entries(line.texts).map(textChunk),
    ...Object.entries(data.chunks).map(([letters, content]) => chunk(letters, latin(atob(content))))];
  const head = 33; // the signature and IHDR
  // The original was not made by what made the others.
  const parts = [bytes.subarray(0, head), ...(isOriginal(cell) ? [] : chunks), bytes.subarray(head)];
  const href = URL.createObjectURL(new Blob(parts, { type: "image/png" }));
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
  toast(`${name} saved`);
}

// Keys
/** To the next cell on the map. */
function move(dx, dy) {
  const { cell } = view;
  const here = placeOf(cell);
  if (isLadder && dx && !isShared(cell)) {
    const low = kind === "triangle" && !hasWayIn(cell.line) ? startOf(cell.line) : 0;
    return show({ line: cell.line, frame: clamp(cell.frame + dx, low, lastOf(cell.line).frame) });
  }
  const ahead = places.filter((place) =>
    dx ? place.row === here.row && (place.column - here.column) * dx > 0 : (place.row - here.row) * dy > 0);
  const far = (place) => 1000 * Math.abs(place.row - here.row) + Math.abs(place.column - here.column);
  const [next] = ahead.sort((a, b) => far(a) - far(b));
  if (!next) return undefined;
  if (isShared(next)) return show({ line: view.way, frame: 0 });
  if (isShared(cell)) moment = 0;
  return show(matching(next.line, moment), next.line, true);
}
const toggleClean = (isClean = !view.clean) => ((view.clean = anyHasBoth && isClean), update(), drawThumbs());
const leave = () => ([view.mode, hovered] = ["off", null], update());
const walk = (by) => goTo(STEP, indexOn(STEP) + by);
const help = () => $("help").showModal();
const keys = (names, action) => Object.fromEntries(names.map(([name, ...given]) => [name, () => action(...given)]));
const KEYS = [ // what the help says, and what each key does
  ["← → ↑ ↓", "along the map: steps and strengths, or rows and columns",
    keys([["ArrowLeft", -1, 0], ["ArrowRight", 1, 0], ["ArrowUp", 0, -1], ["ArrowDown", 0, 1]], move)],
  ["Shift+← Shift+→", "along the way: from the original up to the noise, and out again",
    keys([["Shift+ArrowLeft", -1], ["Shift+ArrowDown", -1], ["Shift+ArrowRight", 1], ["Shift+ArrowUp", 1]], walk)],
  ["Home End", "to both ends of the way", { Home: () => walk(-1e6), End: () => walk(1e6) }],
  ["Space", "play, pause", { " ": togglePlay }],
  ["C", "frames with their noise, or the clean picture that each step aims at", { c: () => toggleClean() }],
  ["A", "pin this picture as A, to compare with; let it go", { a: pin }],
  ["W D F", "wipe, difference, flicker between A and this picture",
    keys([["w", "wipe"], ["d", "difference"], ["f", "flicker"]], compare)],
  ["[ ]", "amplify the difference less, more", keys([["[", -1], ["]", 1]], amplify)],
  ["X", "swap what flickers", { x: swap }],
  ["+ − 0 1", "zoom in, out, all of it, pixels", { "+": larger, "=": larger, "-": smaller, 0: fit, 1: actual }],
  ["H J K L", "move over the zoomed picture: left, down, up, right",
    keys([["h", 0.1, 0], ["j", 0, -0.1], ["k", 0, 0.1], ["l", -0.1, 0]], pan)],
  ["S", "save this picture as PNG, with its settings", { s: save }],
  ["Esc ?", "compare no more; these keys", { Escape: leave, "?": help }],
];
const ACTIONS = Object.assign({}, ...KEYS.map(([, , actions]) => actions));
document.addEventListener("keydown", (event) => {
  const [at, isArrow] = [event.target, event.key.startsWith("Arrow")];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = ACTIONS[event.shiftKey && isArrow ? `Shift+${key}` : key];
  const isTheirs = at.matches("select") || (at.matches("button") && key === " "); // such keys mean something there
  if (!action || isTheirs || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  event.preventDefault();
  if (isArrow || key === "Home" || key === "End") halt();
  action();
});

// All of it
const EXTRAS = { wipe: "wipe", difference: "gain", flicker: "swap" }; // what is there in a mode alone
function update() {
  for (const part of [showScrubbers, showWords, showMarks, showPlan, showTags]) part();
  const words = described(shown(), view.clean);
  const compared = view.mode === "off" ? "" : `${view.mode}: A ${described(view.a, view.a.clean)}, B `;
  stage.setAttribute("aria-label", compared + words);
  for (const [mode, id] of Object.entries(EXTRAS)) $(id).hidden = view.mode !== mode;
  const press = (button, isPressed) => button.setAttribute("aria-pressed", isPressed);
  for (const button of all("[data-mode]")) press(button, button.dataset.mode === view.mode);
  for (const button of all("[data-clean]")) press(button, Boolean(button.dataset.clean) === view.clean);
  for (const [id, isPressed] of [["play", playing], ["pin", view.a]]) press($(id), Boolean(isPressed));
  [$("pin").textContent, $("play").textContent] = [isPinned() ? "Unpin A" : "Pin A", playing ? "Pause" : "Play"];
  [$("play").disabled, $("kinds").hidden, $("gain").value] = [!playAxis(), !anyHasBoth, view.gain];
  if (!hovered && !playing) announce(words);
  keepHash();
  paint();
}
const CLICKS = {
  play: togglePlay, pin, swap, save, fit, actual, smaller, larger, ask: help,
  "copy-command": () => copy(lines[view.cell.line].command, "Command"),
  "copy-settings": () => copy(lines[view.cell.line].about.map((pair) => pair.join(": ")).join("\n"), "Settings"),
};
for (const [id, action] of Object.entries(CLICKS)) $(id).addEventListener("click", action);
for (const button of all("[data-mode]")) button.onclick = () => compare(button.dataset.mode);
for (const button of all("[data-clean]")) button.onclick = () => toggleClean(button.dataset.clean === "1");
$("gain").addEventListener("change", () => amplify(GAINS.indexOf(Number($("gain").value)) - GAINS.indexOf(view.gain)));
for (const [names, meaning] of KEYS) {
  const name = element("dt");
  for (const key of names.split(" ")) name.append(element("kbd", {}, key), " ");
  $("keys").append(name, element("dd", {}, meaning));
}
$("title").textContent = data.title;
(SHEETS[kind] ?? SHEETS.list)();
layMap();
fromHash();
window.addEventListener("hashchange", () => (fromHash(), drawThumbs()));
new ResizeObserver(() => (layMap(), update())).observe($("map"));
new ResizeObserver(paint).observe(stage);
