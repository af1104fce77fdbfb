// What the server says of the video, mirrored here change by change.

export class Store extends EventTarget {
  constructor() {
    super();
    this.video = null;
    this.classes = [];
    this.can = [];
    this.clear();
  }

  clear() {
    this.objects = new Map();
    this.locked = new Set();
    this.masks = new Map(); // frame -> object id -> { origin, phase, confidence, counts?, points?, box? }
    this.revisions = new Map();
  }

  /** Begin anew with everything but pixels. */
  begin(project) {
    this.clear();
    Object.assign(this, { name: project.name, video: project.video, classes: project.classes, can: project.can });
    for (const [id, value] of Object.entries(project.objects)) this.objects.set(Number(id), value);
    for (const frame of project.locked) this.locked.add(frame);
    for (const [frame, id, mask] of project.masks) this.frame(frame).set(id, mask);
    this.takeState(project);
    this.changed();
  }

  /** Make the changes of an edit. */
  apply(message) {
    for (const [kind, ...rest] of message.changes) this.set(kind, rest);
    this.takeState(message);
    this.changed();
  }

  set(kind, [key, second, third]) {
    if (kind === "object") {
      if (second) this.objects.set(key, second);
      else this.objects.delete(key);
    } else if (kind === "lock") {
      if (second) this.locked.add(key);
      else this.locked.delete(key);
    } else {
      this.revisions.set(key, (this.revisions.get(key) ?? 0) + 1);
      if (third) this.frame(key).set(second, third);
      else this.masks.get(key)?.delete(second);
    }
  }

  takeState({ undo, redo, tracking }) {
    Object.assign(this, { undo, redo, tracking });
  }

  frame(index) {
    if (!this.masks.has(index)) this.masks.set(index, new Map());
    return this.masks.get(index);
  }

  mask(frame, id) {
    return this.masks.get(frame)?.get(id) ?? null;
  }

  /** Fetch the pixels of a frame that are not here yet. */
  async load(frame) {
    const lacks = () => [...(this.masks.get(frame)?.values() ?? [])].some((mask) => !mask.counts);
    while (lacks()) {
      const revision = this.revisions.get(frame);
      const answer = await fetch(`/masks/${frame}.json`);
      if (!answer.ok) return;
      const found = await answer.json();
      // What changed meanwhile is newer than what came.
      if (revision !== this.revisions.get(frame)) continue;
      this.masks.set(frame, new Map(Object.entries(found).map(([id, mask]) => [Number(id), mask])));
      this.changed();
    }
  }

  changed() {
    this.dispatchEvent(new Event("changed"));
  }
}

const MIN_CONFIDENCE = 0.6;

/** Whether a tracked mask should be looked at. */
export function isUnsure(mask) {
  return mask.origin === "tracked" && (mask.phase === "lost" || (mask.phase === "tracking" && mask.confidence < MIN_CONFIDENCE));
}

/** What is said of an object in a frame, in words. */
export function describe(mask) {
  if (!mask) return "nothing said here";
  if (mask.origin === "absent") return "not visible, by hand";
  if (mask.phase === "absent") return "not visible, tracked";
  if (mask.phase === "lost" || mask.phase === "searching") return mask.phase;
  const percent = `${Math.round(100 * mask.confidence)} %`;
  return mask.origin === "tracked" ? `tracked, ${percent} certain` : { brush: "by brush", suggested: `suggested, ${percent}` }[mask.origin] ?? `by ${mask.origin}, ${percent}`;
}
