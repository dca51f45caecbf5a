"use strict";

// Data in, nothing else: what is shown is text or pixels, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const { kind, lines } = data;
const isLadder = kind === "triangle" || kind === "pyramid"; // its lines are strengths
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const $ = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const range = (count) => Array.from({ length: count }, (_, i) => i);

function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// Cells: a line and one of its frames. Each line begins at the original, where there is one.

for (const line of lines) {
  if (data.original !== null && line.frames[0].label !== "original") {
    const step = Math.min(0, line.frames[0].step) - 1;
    line.frames.unshift({ label: "original", sigma: 0, step, noisy: data.original });
  }
}

const ladder = range(lines.length).sort((a, b) => (lines[a].strength ?? 0) - (lines[b].strength ?? 0));
const frameOf = (cell) => lines[cell.line].frames[cell.frame];
const isOriginal = (cell) => frameOf(cell).label === "original";
const isLast = (cell) => cell.frame === lines[cell.line].frames.length - 1;
const lastOf = (line) => ({ line, frame: lines[line].frames.length - 1 });
const startOf = (line) => lines[line].frames.findIndex((frame) => frame.step >= 0);
const sharesOriginal = (a, b) => kind === "triangle" && isOriginal(a) && isOriginal(b);
const isSame = (a, b) => Boolean(a && b) && ((a.line === b.line && a.frame === b.frame) || sharesOriginal(a, b));
const indexIn = (cells, cell) => cells.findIndex((other) => isSame(other, cell));

/** The way of a line: from the original to its start, and through its steps. In a triangle without ways in of their
 * own, the starts of the weaker lines are the way in: the L. */
function wayOf(line) {
  const { frames, strength } = lines[line];
  const own = frames.map((_, frame) => ({ line, frame }));
  if (kind !== "triangle" || frames.some((frame) => frame.step < 0 && frame.label !== "original")) return own;
  const weaker = ladder.filter((other) => lines[other].strength < strength && lines[other].frames.some((f) => f.step === 0));
  const start = Math.max(0, startOf(line));
  return [...own.slice(0, start), ...weaker.map((other) => ({ line: other, frame: startOf(other) })), ...own.slice(start)];
}

/** The frame of a line that is most like a moment: "original", "finished", or the number of a step. */
function matching(line, moment) {
  const { frames } = lines[line];
  if (moment === "finished") return frames.length - 1;
  if (moment === "original") return 0;
  const distances = frames.map((frame) => (frame.label === "original" ? Infinity : Math.abs(frame.step - moment)));
  return distances.indexOf(Math.min(...distances));
}

const momentOf = (cell) => (isOriginal(cell) ? "original" : isLast(cell) ? "finished" : frameOf(cell).step);
const pictureOf = (cell, clean) => {
  const frame = frameOf(cell);
  return (clean ? frame.clean ?? frame.noisy : frame.noisy ?? frame.clean);
};
const hasBoth = lines.some((line) => line.frames.some((frame) => "clean" in frame && "noisy" in frame));

// The view: what the address says, and what lasts a moment.

const MODES = ["off", "wipe", "difference", "flicker"];
const GAINS = [1, 2, 4, 8, 16];
const first = lastOf(isLadder ? ladder[Math.floor(lines.length / 2)] : 0);
const view = { cell: first, way: first.line, clean: false, a: null, mode: "off", wipe: 0.5, gain: 4, zoom: 1, x: 0.5, y: 0.5 };
let moment = momentOf(first); // what stays where the line changes
let hovered = null; // a cell under the mouse
let blend = null; // { from, to, share }: between two cells
let other = false; // flicker shows A
let playing = null;

function show(cell, way = cell.line, keep = false) {
  view.cell = cell;
  view.way = way;
  if (!keep) moment = momentOf(cell);
  hovered = blend = null;
  update();
}

const shown = () => hovered ?? view.cell;

function toHash() {
  const words = [`cell=${view.cell.line}.${view.cell.frame}`];
  if (view.way !== view.cell.line) words.push(`way=${view.way}`);
  if (view.clean) words.push("clean=1");
  if (view.a) words.push(`a=${view.a.line}.${view.a.frame}${view.a.clean ? ".clean" : ""}`);
  if (view.mode !== "off") words.push(`mode=${view.mode}`);
  if (view.mode === "wipe") words.push(`wipe=${view.wipe.toFixed(3)}`);
  if (view.mode === "difference") words.push(`gain=${view.gain}`);
  if (view.zoom !== 1) words.push(`zoom=${[view.zoom, view.x, view.y].map((n) => +n.toFixed(4)).join(",")}`);
  return words.join("&");
}

/** Take from the address what can be understood; the rest is as at the beginning. */
function fromHash() {
  const words = new Map(location.hash.slice(1).split("&").map((word) => word.split("=")));
  const cellIn = (word = "") => {
    const found = /^(\d+)\.(\d+)(\.clean)?$/.exec(word);
    const there = found && lines[+found[1]]?.frames[+found[2]];
    return there ? { line: +found[1], frame: +found[2], clean: Boolean(found[3]) } : null;
  };
  const number = (word, low, high, otherwise) =>
    /^\d+(\.\d+)?$/.test(word ?? "") ? clamp(Number(word), low, high) : otherwise;
  const cell = cellIn(words.get("cell")) ?? first;
  view.cell = { line: cell.line, frame: cell.frame };
  view.way = cell.line;
  const way = /^\d+$/.test(words.get("way") ?? "") ? Number(words.get("way")) : cell.line;
  if (lines[way] && indexIn(wayOf(way), view.cell) >= 0) view.way = way;
  view.clean = hasBoth && words.get("clean") === "1";
  view.a = cellIn(words.get("a"));
  view.mode = view.a && MODES.includes(words.get("mode")) ? words.get("mode") : "off";
  view.wipe = number(words.get("wipe"), 0, 1, 0.5);
  view.gain = GAINS.includes(Number(words.get("gain"))) ? Number(words.get("gain")) : 4;
  const [zoom, x, y] = (words.get("zoom") ?? "").split(",");
  [view.zoom, view.x, view.y] = [number(zoom, 0.01, 400, 1), number(x, 0, 1, 0.5), number(y, 0, 1, 0.5)];
  moment = momentOf(view.cell);
  hovered = blend = null;
  halt();
  update();
}

let hashTimer = 0;
function keepHash() {
  clearTimeout(hashTimer); // browsers refuse an address that changes all the time
  hashTimer = setTimeout(() => history.replaceState(null, "", `#${toHash()}`), 250);
}

// Pictures, decoded when they are wanted.

const images = new Map();
function image(number) {
  let entry = images.get(number);
  if (!entry) {
    const img = new Image();
    entry = { img, ready: false };
    images.set(number, entry);
    img.src = `data:image/webp;base64,${data.pictures[number].webp}`;
    entry.done = img.decode().then(() => {
      entry.ready = true;
      paint();
    }, () => announce("A picture of this page is damaged."));
  }
  return entry.ready ? entry.img : null;
}

async function load(number) {
  image(number);
  await images.get(number).done;
  return image(number);
}

// The stage: a canvas that is painted whole, at most once a frame.

const stage = $("stage");
const canvas = $("canvas");
const context = canvas.getContext("2d");
let last = null; // the picture painted last, for as long as the next one is not decoded
let wanted = false;

function paint() {
  if (!wanted) requestAnimationFrame(painted);
  wanted = true;
}

const density = () => window.devicePixelRatio || 1;

/** Where the picture lies on the stage, in CSS pixels; scale: CSS pixels per pixel of the picture. */
function frameRect(img) {
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  const scale = fitScale(img) * view.zoom;
  const [w, h] = [img.naturalWidth * scale, img.naturalHeight * scale];
  const place = (at, size, room) => (size <= room ? (room - size) / 2 : clamp(room / 2 - at * size, room - size, 0));
  return { left: place(view.x, w, width), top: place(view.y, h, height), w, h, scale };
}

const fitScale = (img) => Math.min(stage.clientWidth / img.naturalWidth, stage.clientHeight / img.naturalHeight);

function painted() {
  wanted = false;
  const [width, height, ratio] = [stage.clientWidth, stage.clientHeight, density()];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  }
  const from = image(pictureOf(blend ? blend.from : shown(), view.clean));
  const to = blend && image(pictureOf(blend.to, view.clean));
  const a = view.a && image(pictureOf(view.a, view.a.clean));
  const b = from ?? last;
  if (!b) return;
  last = b;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const rect = frameRect(b);
  // Pixels are shown as what they are once somebody looks at them closely.
  context.imageSmoothingEnabled = view.zoom < 2 || rect.scale * ratio < 4;
  context.imageSmoothingQuality = "high";
  const draw = (img) => context.drawImage(img, rect.left, rect.top, rect.w, rect.h);
  if (view.mode === "difference" && a) {
    draw(difference(a, b));
  } else if (view.mode === "flicker" && a && other) {
    draw(a);
  } else {
    draw(b);
    if (to) {
      context.globalAlpha = blend.share;
      draw(to);
      context.globalAlpha = 1;
    }
    if (view.mode === "wipe" && a) {
      context.save();
      context.beginPath();
      context.rect(0, 0, wipeLine(rect), height);
      context.clip();
      draw(a);
      context.restore();
    }
  }
  placeWipe(rect);
  stage.classList.toggle("zoomed", rect.w > width + 1 || rect.h > height + 1);
  $("zoom").textContent = `${Math.round(100 * rect.scale * ratio)} %`;
  $("zoom").title = "Pixels of the screen for each of the picture";
}

/** The line between A and B crosses what is seen of the picture. */
function wipeLine(rect) {
  const [left, right] = [Math.max(0, rect.left), Math.min(stage.clientWidth, rect.left + rect.w)];
  return left + view.wipe * (right - left);
}

function placeWipe(rect) {
  $("wipe").style.left = `${wipeLine(rect)}px`;
  $("wipe").setAttribute("aria-valuenow", Math.round(100 * view.wipe));
}

let differed = {};
/** |A - B|, amplified, at the size of B; and how large it is, in words. */
function difference(a, b) {
  if (differed.a === a && differed.b === b && differed.gain === view.gain) return differed.result;
  const [width, height] = [b.naturalWidth, b.naturalHeight];
  const flat = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  const [one, two] = [a, b].map((img) => {
    flat.drawImage(img, 0, 0, width, height);
    return flat.getImageData(0, 0, width, height);
  });
  let [sum, squares] = [0, 0];
  for (let i = 0; i < one.data.length; i++) {
    if (i % 4 === 3) continue;
    const apart = Math.abs(one.data[i] - two.data[i]);
    sum += apart;
    squares += apart * apart;
    two.data[i] = apart * view.gain;
  }
  const count = 3 * width * height;
  const decibels = squares ? `PSNR ${(10 * Math.log10((255 * 255 * count) / squares)).toFixed(1)} dB` : "no difference";
  flat.putImageData(two, 0, 0);
  differed = { a, b, gain: view.gain, result: flat.canvas, words: `mean ${((100 * sum) / count / 255).toFixed(2)} %, ${decibels}` };
  showTags();
  return differed.result;
}

function showTags() {
  const [a, b] = [view.a && `A  ${described(view.a, view.a.clean)}`, described(shown(), view.clean)];
  const compares = view.mode !== "off" && view.a;
  const set = (id, text) => {
    $(id).hidden = !text;
    $(id).textContent = text || "";
  };
  set("tag-a", compares && !(view.mode === "flicker" && !other) ? a : "");
  const apart = view.mode === "difference" && differed.words ? `B − A × ${view.gain}: ${differed.words}` : `B  ${b}`;
  set("tag-b", compares ? (view.mode === "flicker" && other ? "" : apart) : hovered ? b : "");
}

// Zoom and pan: view.x, view.y is the point of the picture in the middle of the stage.

const current = () => image(pictureOf(shown(), view.clean)) ?? last;
const actualZoom = (img) => 1 / (fitScale(img) * density());

function settle(img) {
  view.zoom = clamp(view.zoom, Math.min(1, actualZoom(img)), Math.max(8, 64 * actualZoom(img)));
  const rect = frameRect(img);
  const middle = (start, size, room) => (size <= room ? 0.5 : (room / 2 - start) / size);
  view.x = middle(rect.left, rect.w, stage.clientWidth);
  view.y = middle(rect.top, rect.h, stage.clientHeight);
  paint();
  keepHash();
}

/** Zoom by a factor about a point of the stage, and move by some pixels. */
function zoomAt(x, y, factor, dx = 0, dy = 0) {
  const img = current();
  if (!img) return;
  const before = frameRect(img);
  view.zoom = clamp(view.zoom * factor, Math.min(1, actualZoom(img)), Math.max(8, 64 * actualZoom(img)));
  const after = frameRect(img);
  view.x = (stage.clientWidth / 2 - (x + dx) + ((x - before.left) / before.w) * after.w) / after.w;
  view.y = (stage.clientHeight / 2 - (y + dy) + ((y - before.top) / before.h) * after.h) / after.h;
  settle(img);
}

const zoomBy = (factor) => zoomAt(stage.clientWidth / 2, stage.clientHeight / 2, factor);
const pan = (dx, dy) => zoomAt(0, 0, 1, dx * stage.clientWidth, dy * stage.clientHeight);
const fit = () => zoomBy(1 / view.zoom);
const actual = () => current() && zoomBy(actualZoom(current()) / view.zoom);

const pointers = new Map();
let tap = { time: 0 };

/** The middle of the fingers, and how far they are apart. */
function grip() {
  const [one, two = one] = [...pointers.values()];
  return { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, spread: Math.hypot(one.x - two.x, one.y - two.y) || 1 };
}

function pointAt(event) {
  const box = stage.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button || event.target.closest("#wipe")) return;
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, pointAt(event));
  const at = pointAt(event);
  const isSecond = event.timeStamp - tap.time < 350 && Math.hypot(at.x - tap.x, at.y - tap.y) < 24;
  tap = { ...at, time: isSecond || pointers.size > 1 ? 0 : event.timeStamp };
  if (!isSecond || pointers.size > 1 || !current()) return;
  const near = Math.max(4, actualZoom(current()));
  zoomAt(at.x, at.y, view.zoom > 1.01 ? 1 / view.zoom : near / view.zoom);
});
stage.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const before = grip();
  pointers.set(event.pointerId, pointAt(event));
  const after = grip();
  stage.classList.add("dragged");
  zoomAt(before.x, before.y, after.spread / before.spread, after.x - before.x, after.y - before.y);
});
for (const name of ["pointerup", "pointercancel"]) {
  stage.addEventListener(name, (event) => {
    pointers.delete(event.pointerId);
    stage.classList.toggle("dragged", pointers.size > 0);
  });
}
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 20 : 1;
  const { x, y } = pointAt(event);
  zoomAt(x, y, Math.exp(-clamp(event.deltaY * lines, -120, 120) * (event.ctrlKey ? 0.01 : 0.002)));
}, { passive: false });

// Comparing

function compare(mode) {
  // What one mostly wants to compare with is the original.
  if (!view.a) view.a = data.original !== null || isOriginal({ line: view.way, frame: 0 })
    ? { line: view.way, frame: 0, clean: false }
    : { ...view.cell, clean: view.clean };
  view.mode = view.mode === mode ? "off" : mode;
  other = false;
  update();
}

function pin() {
  const unpins = view.a && isSame(view.a, view.cell) && view.a.clean === view.clean;
  view.a = unpins ? null : { ...view.cell, clean: view.clean };
  if (unpins) view.mode = "off";
  update();
}

function swap() {
  if (view.mode !== "flicker") return;
  other = !other;
  showTags();
  paint();
}

function amplify(by) {
  view.gain = GAINS[clamp(GAINS.indexOf(view.gain) + by, 0, GAINS.length - 1)];
  update();
}

setInterval(() => !calm.matches && !document.hidden && swap(), 500); // far below what may harm anybody

function wipeTo(share) {
  view.wipe = clamp(share, 0, 1);
  paint();
  keepHash();
}

const handle = $("wipe");
handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
handle.addEventListener("pointermove", (event) => {
  if (!handle.hasPointerCapture(event.pointerId) || !last) return;
  const rect = frameRect(last);
  const [left, right] = [Math.max(0, rect.left), Math.min(stage.clientWidth, rect.left + rect.w)];
  wipeTo((pointAt(event).x - left) / (right - left));
});
handle.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, Home: -1, End: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  wipeTo(view.wipe + by);
});

// Axes: each has a scrubber, and a cell at every stop.

const lastCells = (chosen) => chosen.map((line) => ({ line, frame: matching(line, moment) }));
const among = (alike) => range(lines.length).filter((line) => alike(lines[line], lines[view.cell.line]));
const axes = [{ name: "Step", cells: () => wayOf(view.way), word: (cell) => frameOf(cell).label, isWay: true }];
if (isLadder) {
  const at = () => (kind === "triangle" && moment === "original" ? 0 : moment); // whose one original all lines share
  axes.push({
    name: "Strength",
    cells: () => ladder.map((line) => ({ line, frame: matching(line, at()) })),
    word: (cell) => String(lines[cell.line].strength ?? lines[cell.line].heading),
  });
} else if (kind === "grid") {
  const sorted = (side) => (a, b) => lines[a][side] - lines[b][side];
  axes.push({
    name: "Column",
    cells: () => lastCells(among((a, b) => a.row === b.row).sort(sorted("column"))),
    word: (cell) => data.columns[lines[cell.line].column] ?? lines[cell.line].heading,
  }, {
    name: "Row",
    cells: () => lastCells(among((a, b) => a.column === b.column).sort(sorted("row"))),
    word: (cell) => data.rows[lines[cell.line].row] ?? lines[cell.line].heading,
  });
} else {
  axes.push({ name: "Picture", cells: () => lastCells(range(lines.length)), word: (cell) => lines[cell.line].heading });
}

const indexOn = (axis) => {
  const cells = axis.cells();
  const index = axis.isWay ? indexIn(cells, view.cell) : cells.findIndex((cell) => cell.line === view.cell.line);
  return Math.max(0, index);
};

function goTo(axis, index) {
  const cells = axis.cells();
  const cell = cells[clamp(index, 0, cells.length - 1)];
  show(cell, axis.isWay ? view.way : cell.line, !axis.isWay);
}

/** A place between two stops: what is near is chosen, and both are seen. */
function scrubTo(axis, value) {
  const cells = axis.cells();
  const low = clamp(Math.floor(value), 0, cells.length - 1);
  const share = value - low;
  goTo(axis, Math.round(value));
  if (share > 0.02 && share < 0.98 && low + 1 < cells.length) blend = { from: cells[low], to: cells[low + 1], share };
  paint();
}

for (const [number, axis] of axes.entries()) {
  const id = `scrubber-${number}`;
  axis.row = element("div", { class: "scrubber" });
  axis.input = element("input", { id, type: "range", min: 0, step: "any" });
  axis.output = element("output", { for: id });
  axis.row.append(element("label", { for: id }, axis.name), axis.input, axis.output);
  $("scrubbers").append(axis.row);
  axis.input.addEventListener("input", () => {
    axis.dragged = true;
    halt();
    scrubTo(axis, Number(axis.input.value));
  });
  axis.input.addEventListener("change", () => {
    axis.dragged = false;
    goTo(axis, Math.round(Number(axis.input.value)));
  });
  axis.input.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -1e6, End: 1e6 }[event.key];
    if (!by || event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    halt();
    goTo(axis, indexOn(axis) + by);
  });
}

function showScrubbers() {
  for (const axis of axes) {
    const cells = axis.cells();
    const index = indexOn(axis);
    axis.row.hidden = cells.length < 2;
    axis.input.max = cells.length - 1;
    if (!axis.dragged) axis.input.value = index;
    axis.output.textContent = axis.word(cells[index]);
    axis.output.title = axis.output.textContent;
    axis.input.setAttribute("aria-valuetext", axis.output.textContent);
    axis.input.style.setProperty("--gaps", Math.max(1, cells.length - 1));
    const turn = axis.isWay ? cells.findIndex((cell) => cell.line === view.way && frameOf(cell).step === 0) : -1;
    axis.input.style.setProperty("--turn", turn > 0 ? turn / (cells.length - 1) : -9);
  }
}

// Playing: along the way, or, where it is one picture, along the next axis.

const playAxis = () => axes.find((axis) => axis.cells().length > 1);
const HOLD = 1200; // milliseconds, at both ends

function play() {
  const axis = playAxis();
  if (!axis) return;
  playing = { axis, at: indexOn(axis) };
  if (playing.at === axis.cells().length - 1) goTo(axis, playing.at = 0);
  playing.since = performance.now();
  requestAnimationFrame(tick);
  update();
}

function halt() {
  playing = null;
}

function tick(now) {
  if (!playing) return;
  const { axis } = playing;
  const cells = axis.cells();
  const isEnd = playing.at === cells.length - 1;
  const share = ((now - playing.since - (isEnd || !playing.at ? HOLD : 0)) * Number($("speed").value)) / 1000;
  if (isEnd ? share > 0 : share >= 1) {
    playing.at = isEnd ? 0 : playing.at + 1;
    playing.since = now;
    goTo(axis, playing.at);
  } else if (share > 0 && !calm.matches) {
    blend = { from: cells[playing.at], to: cells[playing.at + 1], share };
    paint();
  }
  requestAnimationFrame(tick);
}

const togglePlay = () => {
  if (!playing) return play();
  halt();
  blend = null;
  update();
};

// The map: small pictures on a canvas, and the way under and over them.

let places = []; // { line, frame, column, row } of each cell that is on it, and { x, y, w, h } in CSS pixels
let texts = { beside: [], above: [] };

function sheetOf() {
  if (kind === "triangle") {
    const rows = [...ladder].reverse();
    places = rows.flatMap((line, row) => range(lines[line].frames.length - startOf(line))
      .map((column) => ({ line, frame: startOf(line) + column, column, row })));
    if (isOriginal({ line: rows[0], frame: 0 })) places.push({ line: rows[0], frame: 0, column: 0, row: rows.length });
    texts = { beside: [...rows.map((line) => String(lines[line].strength ?? lines[line].heading)), "0"], above: [] };
  } else if (kind === "pyramid") {
    const left = Math.max(...ladder.map(startOf));
    places = ladder.flatMap((line, row) => lines[line].frames
      .map((_, frame) => ({ line, frame, column: left + frame - startOf(line), row })));
    texts = { beside: ladder.map((line) => String(lines[line].strength ?? lines[line].heading)), above: [] };
  } else if (kind === "grid") {
    places = lines.map(({ row, column }, line) => ({ ...lastOf(line), row, column }));
    texts = { beside: data.rows, above: data.columns };
  } else {
    const parents = range(lines.length).filter((line) => kind === "family" && lines[line].row === 0);
    const rest = range(lines.length).filter((line) => !parents.includes(line));
    const across = Math.max(parents.length, clamp(Math.ceil(Math.sqrt(1.4 * rest.length)), 1, 10));
    const down = parents.length ? 1 : 0;
    places = [
      ...parents.map((line, i) => ({ ...lastOf(line), row: 0, column: i + (across - parents.length) / 2 })),
      ...rest.map((line, i) => ({ ...lastOf(line), row: down + Math.floor(i / across), column: i % across })),
    ];
  }
}

/** Headings to be read, and the largest cells that there is room for. */
function layMap() {
  const width = $("map").clientWidth;
  const em = parseFloat(getComputedStyle(document.body).fontSize);
  const columns = 1 + Math.max(...places.map((place) => place.column));
  const rows = 1 + Math.max(...places.map((place) => place.row));
  const longest = Math.max(0, ...texts.beside.map((text) => text.length));
  const left = longest ? clamp(longest * 0.55 * em + 0.6 * em, 1.6 * em, 0.26 * width) : 3;
  const top = texts.above.length ? 2.5 * em : 3;
  const gap = width / columns > 30 ? 4 : 2;
  const w = Math.min((width - left - 3) / columns - gap, (kind === "family" || kind === "pictures" ? 11 : 9) * em);
  const aspect = Math.max(...places.map((place) => {
    const { width: W, height: H } = data.pictures[pictureOf(place)];
    return H / W;
  }));
  const h = Math.min(w * aspect, 2 * w);
  for (const place of places) {
    const [x, y] = [left + place.column * (w + gap), top + place.row * (h + gap)];
    Object.assign(place, { x, y, w, h, gap, drawn: null });
  }
  const height = top + rows * (h + gap);
  $("map").style.height = `${height}px`;
  const thumbs = $("thumbs");
  [thumbs.width, thumbs.height] = [Math.round(width * density()), Math.round(height * density())];
  [thumbs.style.width, thumbs.style.height] = [`${width}px`, `${height}px`];
  const heading = (text, of, at, box) => {
    const made = element("div", { class: of, title: text }, text);
    made.dataset.at = at;
    for (const [side, value] of Object.entries(box)) made.style[side] = `${value}px`;
    return made;
  };
  $("headings").replaceChildren(
    ...texts.beside.map((text, row) => heading(text, "beside", row,
      { left: 0, width: left - 0.45 * em, top: top + row * (h + gap) + Math.max(0, h / 2 - 0.5 * em), maxHeight: h })),
    ...texts.above.map((text, column) => heading(text, "above", column,
      { left: left + column * (w + gap), width: w, top: 0, maxHeight: top })),
  );
  drawThumbs();
}

let thumbing = 0;
async function drawThumbs() {
  const turn = ++thumbing; // another one may begin before this ends
  const drawn = $("thumbs").getContext("2d");
  for (const place of places) {
    const number = pictureOf(place, view.clean);
    if (place.drawn === number) continue;
    const img = image(number) ?? (await load(number));
    if (turn !== thumbing) return;
    const scale = Math.min(place.w / img.naturalWidth, place.h / img.naturalHeight);
    const [w, h] = [img.naturalWidth * scale, img.naturalHeight * scale];
    drawn.setTransform(density(), 0, 0, density(), 0, 0);
    drawn.imageSmoothingQuality = "high";
    drawn.clearRect(place.x, place.y, place.w, place.h);
    drawn.drawImage(img, place.x + (place.w - w) / 2, place.y + (place.h - h) / 2, w, h);
    place.drawn = number;
  }
}

/** Where a cell is on the map; on the way in of a triangle that has its own, between the original and the start. */
function placeOf(cell) {
  const found = places.find((place) => isSame(place, cell));
  if (found) return found;
  if (kind !== "triangle") return places.find((place) => place.line === cell.line);
  const [from, to] = [places[places.length - 1], places.find((place) => place.line === cell.line)];
  return { ...to, y: from.y + (to.y - from.y) * (cell.frame / startOf(cell.line)) };
}

function showMarks() {
  const marks = [];
  const box = (place, by, name) => shape("rect", {
    class: name, x: place.x - by, y: place.y - by, width: place.w + 2 * by, height: place.h + 2 * by,
  });
  if (isLadder) {
    // Boxes around each two neighbours, as wide as the gap: together they are a frame around the way.
    const way = wayOf(view.way).map(placeOf);
    const by = way[0].gap;
    const path = way.slice(0, -1).concat(way.length > 1 ? [] : way).map((one, i) => {
      const two = way[i + 1] ?? one;
      const [x, y] = [Math.min(one.x, two.x) - by, Math.min(one.y, two.y) - by];
      return `M${x} ${y}H${Math.max(one.x, two.x) + one.w + by}V${Math.max(one.y, two.y) + one.h + by}H${x}Z`;
    });
    $("way").firstElementChild.setAttribute("d", path.join(""));
  }
  if (view.a) marks.push(box(placeOf(view.a), 1, "pinned"));
  if (hovered) marks.push(box(placeOf(hovered), 0, "hovered"));
  const here = placeOf(view.cell);
  marks.push(box(here, 1.5, "under"), box(here, 1.5, "here"));
  $("marks").replaceChildren(...marks);
  for (const heading of $("headings").children) {
    const of = heading.className.startsWith("beside") ? here.row : here.column;
    heading.classList.toggle("chosen", Number(heading.dataset.at) === of);
  }
  $("map").setAttribute("aria-label", `Map of ${places.length} pictures, now ${described(view.cell, view.clean)}. Arrow keys move.`);
}

function cellUnder(event) {
  const box = $("map").getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const reach = (place) => place.gap / 2 + 0.5;
  const found = places.find((place) => x >= place.x - reach(place) && x < place.x + place.w + reach(place)
    && y >= place.y - reach(place) && y < place.y + place.h + reach(place));
  if (!found) return null;
  return sharesOriginal(found, found) ? { line: view.way, frame: 0 } : { line: found.line, frame: found.frame };
}

$("map").addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse") return;
  const cell = cellUnder(event);
  if (isSame(cell, hovered) || cell === hovered) return;
  hovered = cell;
  blend = null;
  update();
});
$("map").addEventListener("pointerleave", () => {
  if (!hovered) return;
  hovered = null;
  update();
});
$("map").addEventListener("click", (event) => {
  const cell = cellUnder(event);
  halt();
  if (cell) show(cell);
});

// The plan: sigma of every level on a log axis, the way in before it.

function showPlan() {
  const line = lines[view.way];
  const way = wayOf(view.way);
  const stops = way.map((cell) => ({ cell, sigma: frameOf(cell).sigma, step: frameOf(cell).step }));
  const start = Math.max(0, stops.findIndex((stop) => stop.step >= 0 && stop.cell.line === view.way));
  for (const [i, stop] of stops.entries()) stop.x = i < start ? i : start + stop.step;
  const levels = line.levels.map((sigma, i) => ({ x: start + i, sigma }));
  const points = [...stops.slice(0, start), ...(levels.length ? levels : stops.slice(start))];
  const positive = points.map((point) => point.sigma).filter((sigma) => sigma > 0);
  const svg = $("plan");
  $("plan-part").hidden = !positive.length;
  if (!positive.length) return;
  const [width, height] = [svg.clientWidth, svg.clientHeight];
  const em = parseFloat(getComputedStyle(document.body).fontSize);
  const [left, right, top, low, zero] = [3 * em, 0.6 * em, 0.7 * em, height - 3.1 * em, height - 1.7 * em];
  const [least, most] = [Math.min(...positive), Math.max(...positive)].map(Math.log10);
  const high = most + 0.04 * (most - least || 1);
  const atX = (x) => left + ((width - left - right) * x) / Math.max(1, ...points.map((point) => point.x));
  // Nothing is infinitely far down a log axis: zero has a line of its own, below a break.
  const atY = (sigma) => (sigma === null ? top : sigma <= 0 ? zero
    : low - ((Math.log10(sigma) - least) / (high - least || 1)) * (low - top));
  const made = [];
  const wide = most - least;
  const digits = wide > 2.2 ? [1] : wide > 0.9 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const marks = range(9).flatMap((i) => digits.map((digit) => digit * 10 ** (i - 4)))
    .filter((sigma) => Math.log10(sigma) >= least - 0.001 && Math.log10(sigma) <= high);
  for (const sigma of [...marks, 0]) {
    made.push(shape("line", { class: "rule", x1: left, x2: width - right, y1: atY(sigma), y2: atY(sigma) }),
      shape("text", { x: left - 0.5 * em, y: atY(sigma) + 0.28 * em, "text-anchor": "end" }, `${+sigma.toPrecision(3)}`));
  }
  made.push(shape("line", { class: "break", x1: left, x2: width - right, y1: (low + zero) / 2, y2: (low + zero) / 2 }),
    shape("text", { x: 0, y: top + 0.28 * em }, "σ"),
    shape("polyline", { class: "curve", points: points.map((point) => `${atX(point.x)},${atY(point.sigma)}`).join(" ") }));
  for (const { x, sigma } of levels) {
    made.push(shape("line", { class: "level", x1: atX(x), x2: atX(x), y1: atY(sigma) - 3, y2: atY(sigma) + 3 }));
  }
  const gapX = Math.abs(atX(1) - atX(0));
  const now = stops.find((stop) => isSame(stop.cell, shown()));
  for (const stop of stops) {
    const at = { cx: atX(stop.x), cy: atY(stop.sigma) };
    made.push(shape("circle", { class: "stop", ...at, r: clamp(gapX / 4, 1.5, 3.5) }));
    const target = shape("rect", { class: "target", x: at.cx - gapX / 2, y: 0, width: gapX, height });
    target.append(shape("title", {}, `${frameOf(stop.cell).label}: σ ${rounded(stop.sigma)}`));
    target.addEventListener("click", () => (halt(), show(stop.cell, view.way)));
    made.push(target);
  }
  if (now) made.push(shape("circle", { class: "now", cx: atX(now.x), cy: atY(now.sigma), r: 5.5 }));
  const name = (x, text, anchor = "middle") =>
    made.push(shape("text", { x: atX(x), y: height - 0.35 * em, "text-anchor": anchor }, text));
  const end = Math.max(...points.map((point) => point.x));
  if (start > 0) name(0, "original", "start");
  if (atX(start) - atX(0) > 6 * em || start === 0) name(start, "start", start ? "middle" : "start");
  if (end > start) name(end, levels.length > 1 ? `${levels.length - 1} steps` : "end", "end");
  svg.replaceChildren(...made);
  $("plan-note").textContent = isLadder || lines.length > 1 ? line.heading : "";
  svg.setAttribute("aria-label", `Noise levels: ${line.levels.map(rounded).join(", ")}`);
}

// Words

const rounded = (value) => (value === null ? "∞" : value === 0 ? "0" : Number(value.toPrecision(value < 0.1 ? 3 : 4)).toString());

function described(cell, clean) {
  const frame = frameOf(cell);
  const heading = isOriginal(cell) ? "" : lines[cell.line].heading;
  return [heading, frame.label, clean && "clean" in frame && "noisy" in frame ? "clean" : ""].filter(Boolean).join(", ");
}

function showReadout() {
  const [cell, frame] = [shown(), frameOf(shown())];
  const { heading, times } = lines[cell.line];
  const parts = isOriginal(cell) ? [] : [frame.label, `σ ${rounded(frame.sigma)}`];
  const time = frame.step >= 0 ? times[frame.step] : undefined;
  if (time !== undefined && time !== null && parts.length) parts.push(`t ${Math.round(10 * time) / 10}`);
  $("readout").replaceChildren(element("b", {}, isOriginal(cell) ? "original" : heading || frame.label),
    ...parts.map((part) => element("span", {}, part)));
}

function showSettings() {
  const line = lines[view.cell.line];
  $("about").replaceChildren(...line.about.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  $("command").textContent = line.command;
  const { width, height, inside } = data.pictures[pictureOf(view.cell, view.clean)];
  const isSmaller = inside[0] < width;
  const size = `${inside[0]} × ${inside[1]}`;
  $("save").textContent = isSmaller ? `Save PNG, ${size}` : "Save PNG";
  $("fineprint").textContent = [
    isSmaller ? `In this page pictures are smaller than they were: this one ${size} of ${width} × ${height} pixels.`
      : data.exact ? `In this page pictures are exact, pixel for pixel: this one ${size}.`
        : `In this page pictures are of their full size, ${size}, and compressed.`,
    /\d of \d+ frames/.test(data.said) ? `It shows ${data.said}.` : "",
    isSmaller || !data.exact ? "The command makes the picture itself." : "",
  ].filter(Boolean).join(" ");
}

let announcing = 0;
function announce(text) {
  clearTimeout(announcing);
  announcing = setTimeout(() => ($("live").textContent = text), 400);
}

let toasting = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("shown");
  clearTimeout(toasting);
  toasting = setTimeout(() => $("toast").classList.remove("shown"), 2500);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // it is missing, or forbidden, in pages from a disk
    const area = element("textarea", { readonly: "" });
    area.value = text;
    document.body.append(area);
    const before = document.activeElement;
    area.select();
    const worked = document.execCommand("copy");
    area.remove();
    before?.focus();
    if (!worked) return toast("This browser does not let pages copy: mark the text");
  }
  toast(`${what} copied`);
}

// A PNG with the texts and chunks that belong to it: before the pixels, each with its check sum.

const CRC = range(256).map((n) => range(8).reduce((c) => (c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1), n) >>> 0);
const crc = (bytes) => (bytes.reduce((c, byte) => CRC[(c ^ byte) & 255] ^ (c >>> 8), 0xffffffff) ^ 0xffffffff) >>> 0;
const latin = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const joined = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

function chunk(name, content) {
  const named = joined(latin(name), content);
  const made = new Uint8Array(named.length + 8);
  new DataView(made.buffer).setUint32(0, content.length);
  made.set(named, 4);
  new DataView(made.buffer).setUint32(named.length + 4, crc(named));
  return made;
}

function textChunk(keyword, text) {
  if (/^[\u0000-\u00ff]*$/.test(text)) return chunk("tEXt", joined(latin(`${keyword}\0`), latin(text)));
  return chunk("iTXt", joined(latin(`${keyword}\0\0\0\0\0`), new TextEncoder().encode(text)));
}

function nameOf(cell) {
  const { strength, row, column } = lines[cell.line];
  const frame = frameOf(cell);
  const count = Math.abs(frame.step).toString().padStart(3, "0");
  const line = isLadder ? `-strength${strength}` : kind === "grid" ? `-row${row + 1}-column${column + 1}` : `-${cell.line + 1}`;
  if (isOriginal(cell)) return `${kind}-original.png`;
  const clean = view.clean && "clean" in frame && "noisy" in frame ? "-clean" : "";
  return `${kind}${line}-${frame.step < 0 ? "noised" : "step"}${count}${clean}.png`;
}

async function save() {
  const { cell } = view;
  const [name, img] = [nameOf(cell), await load(pictureOf(cell, view.clean))];
  const flat = element("canvas", { width: img.naturalWidth, height: img.naturalHeight });
  flat.getContext("2d", { alpha: false }).drawImage(img, 0, 0);
  const blob = await new Promise((done) => flat.toBlob(done, "image/png"));
  const bytes = new Uint8Array(await blob.arrayBuffer());
  // The original was not made by what made the others.
  const more = isOriginal(cell) ? [] : [
    ...Object.entries(lines[cell.line].texts).map(([keyword, text]) => textChunk(keyword, text)),
    ...Object.entries(data.chunks).map(([letters, content]) => chunk(letters, latin(atob(content)))),
  ];
  const head = 33; // the signature and the first chunk, IHDR
  const file = new Blob([bytes.subarray(0, head), ...more, bytes.subarray(head)], { type: "image/png" });
  const link = element("a", { href: URL.createObjectURL(file), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  toast(`${name} saved`);
}

// Keys

/** To the next cell on the map. */
function move(dx, dy) {
  const { cell } = view;
  if (isLadder && dx) {
    const isFirst = kind === "triangle" && wayOf(cell.line)[cell.frame]?.frame !== cell.frame;
    const frame = cell.frame + dx;
    const low = kind === "triangle" && wayOf(cell.line).length > lines[cell.line].frames.length ? startOf(cell.line) : 0;
    if (isOriginal(cell) && kind === "triangle") return dx > 0 ? goTo(axes[0], 1) : undefined;
    if (frame < low || frame >= lines[cell.line].frames.length || isFirst) return undefined;
    return show({ line: cell.line, frame });
  }
  const here = placeOf(cell);
  const ahead = places.filter((place) => (dx
    ? place.row === here.row && (place.column - here.column) * dx > 0
    : (place.row - here.row) * dy > 0));
  const far = (place) => 1000 * Math.abs(place.row - here.row) + Math.abs(place.column - here.column);
  const next = ahead.sort((a, b) => far(a) - far(b))[0];
  if (!next) return undefined;
  if (sharesOriginal(next, next)) return show({ line: view.way, frame: 0 }, view.way);
  const sought = sharesOriginal(cell, cell) ? 0 : moment;
  if (sought !== moment) moment = sought;
  return show({ line: next.line, frame: matching(next.line, sought) }, next.line, true);
}

const walk = (by) => goTo(axes[0], indexOn(axes[0]) + by);
function toggleClean(clean = !view.clean) {
  if (!hasBoth) return;
  view.clean = clean;
  update();
  drawThumbs();
}

const KEYS = [
  [["←", "→", "↑", "↓"], "along the map: steps and strengths, or rows and columns"],
  [["Shift ←", "Shift →"], "walk the way: from the original to the noise, and out again"],
  [["Home", "End"], "the beginning and the end of the way"],
  [["Space"], "play, pause"],
  [["C"], "noisy or clean frames"],
  [["A"], "pin this picture as A, to compare with; once more: let it go"],
  [["W", "D", "F"], "wipe, difference, flicker between A and this picture"],
  [["[", "]", "X"], "amplify the difference less, more; swap the flickering"],
  [["+", "−", "0", "1"], "zoom in, out, all of it, pixel by pixel"],
  [["H", "J", "K", "L"], "move the zoomed picture left, down, up, right"],
  [["S"], "save this picture as PNG, with its settings"],
  [["Esc", "?"], "compare no more; these keys"],
];
const ACTIONS = {
  ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1),
  "Shift ArrowLeft": () => walk(-1), "Shift ArrowDown": () => walk(-1),
  "Shift ArrowRight": () => walk(1), "Shift ArrowUp": () => walk(1),
  Home: () => walk(-1e6), End: () => walk(1e6), " ": togglePlay,
  c: () => toggleClean(), a: pin, w: () => compare("wipe"), d: () => compare("difference"), f: () => compare("flicker"),
  "[": () => amplify(-1), "]": () => amplify(1), x: swap, s: save,
  "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: fit, 1: actual,
  h: () => pan(0.1, 0), l: () => pan(-0.1, 0), k: () => pan(0, 0.1), j: () => pan(0, -0.1),
  Escape: () => ((view.mode = "off"), (hovered = null), update()), "?": () => $("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const at = event.target;
  const isArrow = event.key.startsWith("Arrow");
  if (at.matches("select") && (isArrow || event.key.length === 1 || event.key === "Home" || event.key === "End")) return;
  if (at.matches("button") && event.key === " ") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const action = ACTIONS[event.shiftKey && isArrow ? `Shift ${key}` : key];
  if (!action) return;
  event.preventDefault();
  if (isArrow || key === "Home" || key === "End") halt();
  action();
});

// All of it

function update() {
  const isOff = view.mode === "off";
  showScrubbers();
  showReadout();
  showMarks();
  showPlan();
  showSettings();
  showTags();
  $("wipe").hidden = view.mode !== "wipe";
  $("gain-label").hidden = view.mode !== "difference";
  $("gain").value = view.gain;
  $("swap").hidden = view.mode !== "flicker";
  $("kinds").hidden = !hasBoth;
  $("play").setAttribute("aria-pressed", Boolean(playing));
  $("play").disabled = !playAxis();
  $("play").lastChild.textContent = playing ? "Pause" : "Play";
  $("pin").textContent = view.a && isSame(view.a, view.cell) && view.a.clean === view.clean ? "Unpin A" : "Pin A";
  $("pin").setAttribute("aria-pressed", Boolean(view.a));
  for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === view.mode);
  for (const button of document.querySelectorAll("[data-clean]")) button.setAttribute("aria-pressed", (button.dataset.clean === "1") === view.clean);
  const words = described(shown(), view.clean);
  stage.setAttribute("aria-label", isOff ? words : `${view.mode}: A is ${described(view.a, view.a.clean)}, B is ${words}`);
  if (!hovered && !playing) announce(words);
  keepHash();
  paint();
}

const on = (id, action) => $(id).addEventListener("click", () => action());
on("play", togglePlay);
on("pin", pin);
on("swap", swap);
on("save", save);
on("fit", fit);
on("actual", actual);
on("smaller", () => zoomBy(0.8));
on("larger", () => zoomBy(1.25));
on("ask", () => $("help").showModal());
on("copy-command", () => copy(lines[view.cell.line].command, "Command"));
on("copy-settings", () => copy(lines[view.cell.line].about.map((pair) => pair.join(": ")).join("\n"), "Settings"));
for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => compare(button.dataset.mode));
for (const button of document.querySelectorAll("[data-clean]")) button.addEventListener("click", () => toggleClean(button.dataset.clean === "1"));
$("gain").addEventListener("change", () => ((view.gain = Number($("gain").value)), update()));
for (const [names, meaning] of KEYS) {
  const name = element("dt");
  for (const key of names) name.append(element("kbd", {}, key), " ");
  $("keys").append(name, element("dd", {}, meaning));
}

$("title").textContent = data.title;
sheetOf();
fromHash();
window.addEventListener("hashchange", fromHash);
new ResizeObserver(() => {
  layMap();
  update();
}).observe($("map"));
new ResizeObserver(paint).observe(stage);
