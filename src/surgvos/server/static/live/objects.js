// The list of objects: what each is called, how it is, and how it was: a ribbon of the last minute.
const RIBBON_MS = 60000;
const RIBBON_STEP_MS = 200;
const LONGEST_STEP_MS = 1000; // what lasts longer was not seen
const PHASE_COLORS = { tracking: null, absent: "#8a94a0", searching: "#4f8fd9", confirming: "#8d6fd1", lost: "#d9534f" };

export class Objects {
  constructor(list, onRemove) {
    this.list = list;
    this.onRemove = onRemove;
    this.current = 1;
    this.highest = 0;
    this.rows = new Map();
    this.markedMs = 0;
  }

  // The next prompt is for an object that is not there yet.
  begin() {
    this.current = Math.max(this.highest, ...this.rows.keys()) + 1;
    this.markCurrent();
  }

  // The object that a prompt is for; it may take a while until it is seen in an answer.
  prompted() {
    this.highest = Math.max(this.highest, this.current);
    return this.current;
  }

  select(id) {
    if (!this.rows.has(id)) return;
    this.current = id;
    this.markCurrent();
  }

  update(description) {
    const nowMs = performance.now();
    const isStep = nowMs - this.markedMs >= RIBBON_STEP_MS;
    if (isStep) this.markedMs = nowMs;
    const ids = new Set(description.objects.map((object) => object.id));
    for (const id of [...this.rows.keys()]) if (!ids.has(id)) this.drop(id);
    for (const object of description.objects) {
      const row = this.rows.get(object.id) ?? this.add(object);
      row.name.textContent = object.name ?? `object ${object.id}`;
      row.phase.textContent = `${object.phase} ${Math.round(100 * object.presence)} %`;
      if (isStep) this.extend(row, object, nowMs);
    }
  }

  add(object) {
    const item = document.createElement("li");
    const parts = { item, history: [] };
    for (const [part, tag] of [["dot", "span"], ["name", "span"], ["phase", "span"], ["remove", "button"], ["ribbon", "canvas"]]) {
      parts[part] = item.appendChild(document.createElement(tag));
      parts[part].className = part;
    }
    parts.dot.style.background = `rgb(${object.color})`;
    parts.remove.textContent = "×";
    parts.remove.title = `forget object ${object.id}`;
    parts.remove.addEventListener("click", (event) => {
      event.stopPropagation();
      this.onRemove(object.id);
    });
    item.addEventListener("click", () => this.select(object.id));
    parts.ribbon.width = RIBBON_MS / RIBBON_STEP_MS;
    parts.ribbon.height = 1;
    this.rows.set(object.id, parts);
    this.list.append(item);
    this.markCurrent();
    return parts;
  }

  drop(id) {
    this.rows.get(id).item.remove();
    this.rows.delete(id);
  }

  extend(row, object, nowMs) {
    row.history.push([nowMs, PHASE_COLORS[object.phase] ?? `rgb(${object.color})`]);
    while (row.history[0][0] < nowMs - RIBBON_MS) row.history.shift();
    const context = row.ribbon.getContext("2d");
    context.clearRect(0, 0, row.ribbon.width, 1);
    const columnOf = (ms) => Math.round(row.ribbon.width - (nowMs - ms) / RIBBON_STEP_MS);
    row.history.forEach(([ms, color], index) => {
      const untilMs = Math.min(row.history[index + 1]?.[0] ?? nowMs, ms + LONGEST_STEP_MS);
      context.fillStyle = color;
      context.fillRect(columnOf(ms), 0, columnOf(untilMs) - columnOf(ms), 1);
    });
  }

  markCurrent() {
    for (const [id, row] of this.rows) row.item.setAttribute("aria-current", id === this.current);
  }
}
