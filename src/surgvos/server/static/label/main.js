// The page: what is asked of the server, and what is shown of its answers.

import { Connection } from "./socket.js";
import { Frames } from "./frames.js";
import { explain, listen } from "./keys.js";
import { ObjectList } from "./objects.js";
import { describe, Store } from "./store.js";
import { Timeline } from "./timeline.js";
import { Tools } from "./tools.js";
import { drawPrompts, View } from "./view.js";

const AGAIN_AFTER_MS = 1200;
const NOTE_MS = 7000;
const LOOK_AFTER_MS = 250;
const CORRECTIONS = new Set(["click", "box", "stroke", "absent"]);

const byId = (id) => document.getElementById(id);
const store = new Store();
const frames = new Frames();
const connection = new Connection();
const view = new View(byId("view"));
const place = { frame: 0, active: null, hidden: new Set(), direction: 1, before: null, asked: null, isFollowing: false };

const tools = new Tools(view, {
  click: (x, y, isOn) => edit("click", { x, y, is_on: isOn }),
  box: (box) => edit("box", { box_xyxy: box }),
  stroke: (points, radius, erases) => edit("stroke", { points_xy: points, radius_px: radius, erases }),
});
const timeline = new Timeline(byId("timeline"), store, frames, (frame) => go(frame));
const objects = new ObjectList(byId("objects"), store, {
  choose,
  name: (id, value) => ask("name_object", { object: id, ...value }),
  remove: (id) => ask("remove_object", { object: id }),
  toggle: (id) => {
    if (!place.hidden.delete(id)) place.hidden.add(id);
    show();
  },
});

// --- asking ------------------------------------------------------------------------------------------------------

/** Ask the server; whatever is refused is said to the person. */
async function ask(kind, fields) {
  try {
    return await connection.ask(kind, fields);
  } catch (error) {
    note(error.message);
    return null;
  }
}

/** An edit of the active object in this frame; without an object, there is one now. */
async function edit(kind, fields = {}) {
  const { frame } = place;
  if (store.locked.has(frame)) {
    note("This frame is locked. Unlock it first (L).");
    return;
  }
  if (place.active === null || !store.objects.has(place.active)) {
    if (!(await addObject(""))) return;
  }
  const object = place.active;
  const wasThere = store.mask(frame, object) !== null;
  hideBefore();
  clearTimeout(place.again);
  place.asked = kind === "click" ? fields : null;
  view.draw();
  const done = await ask(kind, { frame, object, ...fields });
  place.asked = null;
  view.draw();
  if (done && wasThere && CORRECTIONS.has(kind)) trackAgain(frame, object);
}

/** Track again what was tracked from a mask that has just been corrected. */
function trackAgain(frame, object) {
  clearTimeout(place.again);
  const isTracked = store.mask(frame + 1, object)?.origin === "tracked" && !store.locked.has(frame + 1);
  if (!isTracked || !byId("again").checked) return;
  place.again = setTimeout(() => track("forward", [object], frame), AGAIN_AFTER_MS);
}

async function addObject(name) {
  const known = store.classes.find((entry) => entry.name === name);
  const before = new Set(store.objects.keys());
  const done = await ask("name_object", known ? { label: known.name } : { name });
  if (!done) return false;
  choose([...store.objects.keys()].find((id) => !before.has(id)) ?? place.active);
  return true;
}

function track(direction, only = [], frame = place.frame) {
  place.isFollowing = only.length === 0;
  hideBefore();
  return ask("track", { frame, objects: only, direction });
}

async function findDoubt(direction) {
  const answer = await ask("find_doubt", { frame: place.frame, direction });
  if (!answer) return;
  if (!answer.found) {
    note(direction === "forward" ? "No doubtful frame from here on." : "No doubtful frame before this one.");
    return;
  }
  const [frame, object, why] = answer.found;
  go(frame);
  choose(object);
  hint(`${store.objects.get(object)?.name ?? "An object"}: ${why}`);
}

async function stepThrough(kind) {
  clearTimeout(place.again);
  hideBefore();
  const answer = await ask(kind);
  if (answer?.step) {
    go(answer.step.frame);
    hint(`${kind === "undo" ? "Taken back" : "Done again"}: ${answer.step.edit}`);
  }
}

// --- where we are ------------------------------------------------------------------------------------------------

function go(frame) {
  if (!store.video) return;
  const target = Math.min(store.video.num_frames - 1, Math.max(0, Math.round(frame)));
  if (target === place.frame) return;
  place.direction = target < place.frame ? -1 : 1;
  place.frame = target;
  hideBefore();
  hint("");
  arrive();
}

/** Show the frame that we are at. */
function load() {
  store.load(place.frame).catch(() => {}); // it comes with the connection
  show();
}

/** Show the frame that we have come to, and let the server know. */
function arrive() {
  clearTimeout(place.looking);
  place.looking = setTimeout(tell, LOOK_AFTER_MS);
  load();
}

/** Let the server know where we are. */
function tell() {
  const { frame, active } = place;
  if (!connection.isOpen) return;
  connection.ask("look", { frame, object: active }).then(() => (place.told = frame)).catch(() => {});
}

function choose(id) {
  place.active = id;
  arrive();
}

function play(isOn = !place.playing) {
  clearInterval(place.playing);
  place.playing = null;
  if (isOn) {
    place.playing = setInterval(() => {
      const next = place.frame + 1;
      if (next >= store.video.num_frames) play(false);
      else if (frames.get(next)) go(next);
    }, 1000 / (store.video.fps ?? 25));
  }
  byId("play").setAttribute("aria-label", isOn ? "Pause" : "Play");
  byId("play").setAttribute("aria-pressed", String(isOn));
}

async function toggleBefore() {
  if (place.before) {
    hideBefore();
  } else {
    const { frame } = place;
    const answer = await fetch(`/before/${frame}.json`);
    if (!answer.ok || frame !== place.frame) return;
    place.before = new Map(Object.entries(await answer.json()).map(([id, mask]) => [Number(id), mask]));
  }
  show();
}

function hideBefore() {
  place.before = null;
}

// --- showing -----------------------------------------------------------------------------------------------------

function show() {
  if (!store.video) return;
  const { frame, active, hidden, before } = place;
  const image = frames.get(frame, place.direction) ?? frames.nearest(frame);
  const showsMasks = byId("masks-shown").checked;
  view.show({ image, masks: before ?? store.masks.get(frame) ?? new Map(), objects: store.objects, active, hidden, showsMasks });
  timeline.show(frame, active);
  objects.show(frame, active, hidden);
  showButtons();
}

function showButtons() {
  const { frame, before } = place;
  const isLocked = store.locked.has(frame);
  for (const kind of ["undo", "redo"]) {
    const step = store[kind];
    byId(kind).disabled = !step;
    byId(kind).title = step ? `${kind === "undo" ? "Undo" : "Redo"}: ${step.edit}, frame ${step.frame}` : "";
  }
  byId("lock").setAttribute("aria-pressed", String(isLocked));
  byId("lock-text").textContent = isLocked ? "Locked: unlock" : "Lock: it is right";
  byId("before").setAttribute("aria-pressed", String(before !== null));
  byId("stop").disabled = !store.tracking;
  byId("badge").hidden = before === null && !isLocked;
  byId("badge").textContent = before !== null ? "Before the last change" : "Locked";
  if (document.activeElement !== byId("frame")) byId("frame").value = frame;
  byId("of").textContent = `of ${store.video.num_frames - 1}`;
  const mask = store.mask(frame, place.active);
  view.canvas.setAttribute("aria-label", `Frame ${frame}. ${store.objects.get(place.active)?.name ?? "No object"}: ${describe(mask)}. Press K to point with the keys.`);
  showSaved();
}

function showSaved() {
  const saved = byId("saved");
  saved.classList.toggle("lost", !connection.isOpen);
  if (!connection.isOpen) saved.textContent = "No server: trying again; nothing is lost";
  else if (store.tracking) saved.textContent = `Tracking ${store.tracking.direction} …`;
  else saved.textContent = connection.waiting.size ? "Working …" : "Saved";
}

function note(text) {
  byId("note").textContent = text;
  byId("note").hidden = false;
  clearTimeout(place.noting);
  place.noting = setTimeout(() => (byId("note").hidden = true), NOTE_MS);
}

function hint(text) {
  byId("hint").textContent = text;
}

view.drawn.unshift((context, px) => {
  const mask = place.before ? null : store.mask(place.frame, place.active);
  if (mask && byId("masks-shown").checked) drawPrompts(context, px, mask);
  // A click is seen at once, also while the model thinks.
  if (place.asked) drawPrompts(context, px, { points: [[place.asked.x, place.asked.y, place.asked.is_on]] });
});

// --- what is heard -----------------------------------------------------------------------------------------------

connection.addEventListener("project", ({ detail }) => {
  const isFirst = store.video === null;
  store.begin(detail);
  if (isFirst) begin(detail);
  // A page that has just opened is where the server said, and need not tell it.
  if (isFirst) load();
  else arrive();
});
connection.addEventListener("changed", ({ detail }) => {
  store.apply(detail);
  if (place.active !== null && !store.objects.has(place.active)) place.active = null;
  const tracked = detail.edit === "track" ? detail.changes.find(([kind]) => kind === "mask") : null;
  if (tracked && place.isFollowing) go(tracked[1]);
  store.load(place.frame).catch(() => {}); // it comes with the connection
});
connection.addEventListener("notice", ({ detail }) => note(detail.text));
for (const kind of ["open", "lost", "pending"]) connection.addEventListener(kind, showSaved);
store.addEventListener("changed", show);
frames.addEventListener("loaded", ({ detail }) => detail === place.frame && show());

function begin(project) {
  document.title = `${project.name} · SurgVOS label`;
  byId("title").textContent = project.name;
  frames.numFrames = project.video.num_frames;
  view.setVideo(project.video);
  place.frame = place.told = project.place.frame;
  place.active = store.objects.has(project.place.object) ? project.place.object : store.objects.keys().next().value ?? null;
  byId("frame").max = project.video.num_frames - 1;
  byId("timeline").setAttribute("aria-valuemax", project.video.num_frames - 1);
  byId("suggest").hidden = !project.can.includes("suggest");
  byId("phrase").hidden = !project.can.includes("phrase");
  byId("classes").replaceChildren(...project.classes.map(({ name }) => Object.assign(document.createElement("option"), { value: name })));
}

// --- what is pressed ---------------------------------------------------------------------------------------------

const ACTIONS = {
  undo: () => stepThrough("undo"),
  redo: () => stepThrough("redo"),
  first: () => go(0),
  last: () => go(store.video.num_frames - 1),
  play: () => play(),
  fit: () => view.fit(),
  "zoom-in": () => view.zoom(1.3),
  "zoom-out": () => view.zoom(1 / 1.3),
  thinner: () => setRadius(tools.radius / 1.25),
  thicker: () => setRadius(tools.radius * 1.25),
  crosshair: () => tools.toggleCrosshair(),
  track: () => track("forward"),
  "track-backward": () => track("backward"),
  lock: () => ask("lock", { frame: place.frame, is_locked: !store.locked.has(place.frame) }),
  absent: () => (place.active === null ? note("Choose an object first.") : edit("absent")),
  doubt: () => findDoubt("forward"),
  "doubt-backward": () => findDoubt("backward"),
  before: () => toggleBefore(),
  masks: () => byId("masks-shown").click(),
  suggest: () => store.can.includes("suggest") && ask("suggest", { frame: place.frame }),
  new: () => byId("new-name").focus(),
  help: () => byId("help").showModal(),
  theme: () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  stop: () => {
    clearTimeout(place.again);
    if (!tools.cancel() && store.tracking) ask("stop");
  },
};

function act(action, event = {}) {
  if (!store.video && action !== "theme" && action !== "help") return;
  const step = event.shiftKey ? 10 : 1;
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if ((dx || dy) && tools.moveCrosshair(dx, dy, event.shiftKey)) return;
  if (action === "next") go(place.frame + step);
  else if (action === "previous") go(place.frame - step);
  else if (action === "press") tools.press(event.shiftKey);
  else if (action.startsWith("object-")) chooseNumber(Number(action.slice(7)));
  else if (byTool.has(action)) setTool(action);
  else ACTIONS[action]?.(event);
}

function chooseNumber(number) {
  const id = [...store.objects.keys()][number - 1];
  if (id !== undefined) choose(id);
}

const byTool = new Map([...document.querySelectorAll("[data-tool]")].map((button) => [button.dataset.tool, button]));

function setTool(tool) {
  tools.set(tool);
  for (const [name, button] of byTool) button.setAttribute("aria-pressed", String(name === tool));
}

function setRadius(radius) {
  tools.radius = Math.min(120, Math.max(2, radius));
  byId("size").value = tools.radius;
  view.draw();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("surgvos-theme", theme);
  timeline.redraw();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do], [data-tool]");
  if (button) act(button.dataset.do ?? button.dataset.tool, {});
});
document.addEventListener("keydown", (event) => {
  // The crosshair also moves up and down, which mean nothing else.
  if (["ArrowUp", "ArrowDown"].includes(event.key) && tools.crosshair && event.target === view.canvas) {
    event.preventDefault();
    act("", event);
  }
});
byId("frame").addEventListener("change", (event) => go(Number(event.target.value)));
byId("size").addEventListener("input", (event) => setRadius(Number(event.target.value)));
byId("masks-shown").addEventListener("change", show);
byId("new-object").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("new-name");
  if (await addObject(field.value.trim())) {
    field.value = "";
    view.canvas.focus({ preventScroll: true });
  }
});
byId("phrase").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("phrase-text").value.trim();
  if (text) edit("phrase", { text });
});
// A tab that is closed the moment it has moved is found again where it was.
window.addEventListener("pagehide", () => place.told !== place.frame && tell());
listen(act);
explain(byId("keys"));
setTool("click");
setTheme(localStorage.getItem("surgvos-theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));

// For tests: what is shown, as the masks on disk are.
window.surgvosLabel = { store, view, place, connection };
