// The timeline: thumbnails, a ribbon per object, locked frames, and where we are.

import { describe, isUnsure } from "./store.js";

const THUMBNAIL_PX = 48;
const RIBBON_PX = 15;
const GAP_PX = 3;
const LOCKS_PX = 12;
const NAMES_PX = 104;
const MAX_RIBBONS = 8;

export class Timeline {
  constructor(canvas, store, frames, go) {
    Object.assign(this, { canvas, store, frames, go, frame: 0, active: null });
    this.still = null; // everything but the playhead, drawn once
    new ResizeObserver(() => this.redraw()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerup", () => (this.isHeld = false));
    canvas.addEventListener("pointercancel", () => (this.isHeld = false));
    frames.addEventListener("thumbnail", () => this.redraw());
    store.addEventListener("changed", () => this.redraw());
  }

  show(frame, active) {
    if (active !== this.active) this.still = null;
    Object.assign(this, { frame, active });
    this.canvas.setAttribute("aria-valuenow", frame);
    this.draw();
  }

  get objectIds() {
    return [...this.store.objects.keys()].slice(0, MAX_RIBBONS);
  }

  get namesPx() {
    return this.store.objects.size && this.canvas.clientWidth > 500 ? NAMES_PX : 0;
  }

  xOf(frame) {
    return this.namesPx + ((frame + 0.5) * (this.canvas.clientWidth - this.namesPx)) / this.store.video.num_frames;
  }

  frameAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - this.namesPx) / (box.width - this.namesPx);
    const last = this.store.video.num_frames - 1;
    return Math.min(last, Math.max(0, Math.floor(part * (last + 1))));
  }

  press(event) {
    if (!this.store.video) return;
    this.isHeld = true;
    this.canvas.setPointerCapture(event.pointerId);
    this.go(this.frameAt(event));
  }

  hover(event) {
    if (!this.store.video) return;
    const frame = this.frameAt(event);
    if (this.isHeld) this.go(frame);
    const row = Math.floor((event.offsetY - THUMBNAIL_PX - LOCKS_PX) / (RIBBON_PX + GAP_PX));
    const id = this.objectIds[row];
    const said = id === undefined ? "" : ` · ${this.store.objects.get(id).name}: ${describe(this.store.mask(frame, id))}`;
    this.canvas.title = `Frame ${frame}${said}`;
  }

  /** Draw what has changed, and not only where we are. */
  redraw() {
    this.still = null;
    this.draw();
  }

  draw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      if (this.store.video) this.drawNow();
    });
  }

  drawNow() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const height = THUMBNAIL_PX + LOCKS_PX + this.objectIds.length * (RIBBON_PX + GAP_PX);
    if (!this.still) {
      canvas.style.height = `${height}px`;
      this.still = document.createElement("canvas");
      Object.assign(this.still, { width: Math.round(canvas.clientWidth * ratio), height: Math.round(height * ratio) });
      Object.assign(canvas, { width: this.still.width, height: this.still.height });
      this.drawStill(this.still.getContext("2d"), ratio, canvas.clientWidth);
    }
    this.context = canvas.getContext("2d");
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.still.width) this.context.drawImage(this.still, 0, 0);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.drawPlayhead(height);
  }

  drawStill(context, ratio, width) {
    this.context = context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    this.colors = Object.fromEntries(
      ["text", "quiet", "ribbon-ground", "unsure", "locked", "accent", "danger"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
    this.drawThumbnails(width);
    this.drawLocks();
    const frames = [...this.store.masks].sort(([a], [b]) => a - b);
    this.objectIds.forEach((id, row) => this.drawRibbon(id, frames, THUMBNAIL_PX + LOCKS_PX + row * (RIBBON_PX + GAP_PX), width));
  }

  drawThumbnails(width) {
    const { num_frames: numFrames, width: videoWidth, height: videoHeight } = this.store.video;
    const each = (THUMBNAIL_PX * videoWidth) / videoHeight;
    const left = this.namesPx;
    for (let x = left; x < width; x += each) {
      const frame = Math.min(numFrames - 1, Math.floor(((x + each / 2 - left) / (width - left)) * numFrames));
      const image = this.frames.thumbnail(frame);
      this.context.fillStyle = this.colors["ribbon-ground"];
      this.context.fillRect(x, 0, each - 1, THUMBNAIL_PX);
      if (image) this.context.drawImage(image, x, 0, each - 1, THUMBNAIL_PX);
    }
  }

  drawLocks() {
    this.context.fillStyle = this.colors.locked;
    for (const frame of this.store.locked) {
      this.context.beginPath();
      this.context.arc(this.xOf(frame), THUMBNAIL_PX + LOCKS_PX / 2, 4, 0, 2 * Math.PI);
      this.context.fill();
    }
  }

  drawRibbon(id, frames, top, width) {
    const { context, store } = this;
    const { name, color } = store.objects.get(id);
    const left = this.namesPx;
    if (left) {
      context.font = `${id === this.active ? "600 " : ""}12px system-ui, sans-serif`;
      context.fillStyle = this.colors.text;
      context.textBaseline = "middle";
      context.fillText(clip(context, name, left - 10), 0, top + RIBBON_PX / 2);
    }
    context.fillStyle = this.colors["ribbon-ground"];
    context.fillRect(left, top, width - left, RIBBON_PX);
    const numFrames = store.video.num_frames;
    const perFrame = (width - left) / numFrames;
    const bar = Math.max(1, perFrame);
    let column = -1;
    // Where several frames share a column, the one that most needs a look is drawn last, on top.
    for (const [frame, masks] of frames) {
      const mask = masks.get(id);
      if (!mask) continue;
      const x = Math.floor(left + frame * perFrame);
      const isSame = x === column;
      column = x;
      this.drawBar(mask, x, top, Math.ceil(bar), `rgb(${color.join(" ")})`, isSame);
    }
  }

  drawBar(mask, x, top, width, color, isSame) {
    const { context } = this;
    const isHand = mask.origin !== "tracked";
    if (isSame && !isHand && !isUnsure(mask)) return;
    const bottom = top + RIBBON_PX;
    if (mask.phase === "absent") {
      context.fillStyle = color;
      context.fillRect(x, bottom - 2, width, 2);
    } else if (mask.phase === "lost" || mask.phase === "searching") {
      context.fillStyle = mask.phase === "lost" ? this.colors.danger : this.colors.quiet;
      context.fillRect(x, top + RIBBON_PX / 2 - 2, width, 4);
    } else {
      const height = isHand ? RIBBON_PX : Math.max(3, mask.confidence * (RIBBON_PX - 3));
      context.fillStyle = isUnsure(mask) ? this.colors.unsure : color;
      context.fillRect(x, bottom - height, width, height);
    }
    if (isHand) {
      context.fillStyle = this.colors.text;
      context.fillRect(x, top, Math.max(3, width), 3);
    }
  }

  drawPlayhead(height) {
    const x = this.xOf(this.frame);
    this.context.fillStyle = this.colors.accent;
    this.context.fillRect(x - 1, 0, 2, height);
    this.context.beginPath();
    this.context.moveTo(x - 6, 0);
    this.context.lineTo(x + 6, 0);
    this.context.lineTo(x, 8);
    this.context.fill();
  }
}

function clip(context, text, width) {
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`;
  return shown;
}
