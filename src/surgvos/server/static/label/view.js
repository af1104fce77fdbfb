// The canvas: a frame, its masks, and what is being pointed at; zoomed and moved.

import { paintRuns } from "./rle.js";

const MAX_SCALE = 16;
const ALPHA = 110;
const ALPHA_ACTIVE = 150;

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.labelMap = null;
    this.painted = null; // what the layer shows, to paint nothing twice
    this.scene = { image: null, masks: new Map(), objects: new Map(), active: null, hidden: new Set(), showsMasks: true };
    this.drawn = []; // functions that draw on top, in pixels of the video
    this.scale = 1;
    this.origin = { x: 0, y: 0 };
    this.isFitted = true;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  setVideo({ width, height }) {
    Object.assign(this.layer, { width, height });
    this.labelMap = new Uint16Array(width * height);
    this.painted = null;
    this.resize();
  }

  /** Show a frame. */
  show(scene) {
    this.scene = scene;
    this.paintMasks();
    this.draw();
  }

  // --- zoom ----------------------------------------------------------------------------------------------------

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    if (this.isFitted) this.fit();
    else this.draw();
  }

  fit() {
    if (!this.labelMap) return;
    const { width, height } = this.layer;
    this.scale = Math.min(this.canvas.width / width, this.canvas.height / height);
    this.origin = { x: (this.canvas.width - width * this.scale) / 2, y: (this.canvas.height - height * this.scale) / 2 };
    this.isFitted = true;
    this.draw();
  }

  /** Zoom by a factor; the pixel under (x, y) of the canvas stays there. */
  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const least = 0.5 * Math.min(this.canvas.width / this.layer.width, this.canvas.height / this.layer.height);
    const scale = Math.min(MAX_SCALE, Math.max(least, this.scale * factor));
    const kept = scale / this.scale;
    this.origin = { x: x - (x - this.origin.x) * kept, y: y - (y - this.origin.y) * kept };
    this.scale = scale;
    this.isFitted = false;
    this.draw();
  }

  move(dx, dy) {
    this.origin = { x: this.origin.x + dx, y: this.origin.y + dy };
    this.isFitted = false;
    this.draw();
  }

  /** Where a pointer is: in pixels of the canvas, and of the video (inside it). */
  locate(event) {
    const box = this.canvas.getBoundingClientRect();
    const canvasX = ((event.clientX - box.left) * this.canvas.width) / box.width;
    const canvasY = ((event.clientY - box.top) * this.canvas.height) / box.height;
    return { canvasX, canvasY, ...this.clamp((canvasX - this.origin.x) / this.scale, (canvasY - this.origin.y) / this.scale) };
  }

  clamp(x, y) {
    return { x: Math.min(this.layer.width, Math.max(0, x)), y: Math.min(this.layer.height, Math.max(0, y)) };
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  /** Paint the masks of the scene into a layer of the video's size: filled, with a clear edge. */
  paintMasks() {
    if (!this.labelMap) return;
    const { width, height } = this.layer;
    const { masks, objects, active, hidden, showsMasks } = this.scene;
    const colors = new Map();
    for (const [id, { color }] of objects) {
      if (!hidden.has(id) && showsMasks) colors.set(id, [...color, id === active ? ALPHA_ACTIVE : ALPHA]);
    }
    const scene = [...masks].flatMap(([id, { counts }]) => [id, counts]).concat([...colors].flat(2));
    if (this.painted?.length === scene.length && scene.every((part, index) => part === this.painted[index])) return;
    this.painted = scene;
    this.labelMap.fill(0);
    const context = this.layer.getContext("2d");
    context.clearRect(0, 0, width, height);
    let [left, right] = [width, 0];
    for (const [id, { counts }] of masks) {
      if (!counts) continue;
      const [first, last] = paintRuns(counts, width, height, this.labelMap, id);
      left = Math.min(left, first);
      right = Math.max(right, last + 1);
    }
    if (left >= right) return;
    const picture = context.createImageData(right - left, height);
    fill(this.labelMap, width, height, left, right, colors, new Uint32Array(picture.data.buffer));
    context.putImageData(picture, left, 0);
  }

  draw() {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    const { context, canvas, scale, origin, layer } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.labelMap) return;
    context.setTransform(scale, 0, 0, scale, origin.x, origin.y);
    context.imageSmoothingEnabled = scale < 3;
    if (this.scene.image) context.drawImage(this.scene.image, 0, 0, layer.width, layer.height);
    context.drawImage(layer, 0, 0);
    for (const drawOn of this.drawn) drawOn(context, 1 / scale);
  }
}

/** Colour some columns of a label map; pixels at the edge of an object are opaque. Colours are RGBA by id. */
function fill(labelMap, width, height, left, right, colors, target) {
  const inside = new Map();
  const edges = new Map();
  for (const [id, [red, green, blue, alpha]] of colors) {
    const base = (blue << 16) | (green << 8) | red;
    inside.set(id, ((alpha << 24) | base) >>> 0);
    edges.set(id, ((255 << 24) | base) >>> 0);
  }
  for (let y = 0, place = 0; y < height; y += 1) {
    for (let x = left; x < right; x += 1, place += 1) {
      const index = y * width + x;
      const id = labelMap[index];
      if (id === 0 || !inside.has(id)) continue;
      const isEdge =
        x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
        labelMap[index - 1] !== id || labelMap[index + 1] !== id ||
        labelMap[index - width] !== id || labelMap[index + width] !== id;
      target[place] = isEdge ? edges.get(id) : inside.get(id);
    }
  }
}

/** Draw the clicks and the box that made a mask. `px` is the size of one pixel of the screen. */
export function drawPrompts(context, px, mask) {
  const ratio = window.devicePixelRatio || 1;
  const radius = 7 * px * ratio;
  if (mask.box) {
    const [x0, y0, x1, y1] = mask.box;
    context.setLineDash([6 * px * ratio, 4 * px * ratio]);
    outlined(context, px * ratio, () => context.strokeRect(x0, y0, x1 - x0, y1 - y0));
    context.setLineDash([]);
  }
  for (const [x, y, isOn] of mask.points ?? []) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = isOn ? "#0a7d33" : "#b3261e";
    context.fill();
    context.strokeStyle = "#ffffff";
    context.lineWidth = 1.6 * px * ratio;
    context.stroke();
    context.beginPath();
    context.moveTo(x - radius / 2, y);
    context.lineTo(x + radius / 2, y);
    if (isOn) {
      context.moveTo(x, y - radius / 2);
      context.lineTo(x, y + radius / 2);
    }
    context.stroke();
  }
}

/** Stroke in white over black: visible on tissue and on steel. */
export function outlined(context, px, stroke) {
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.lineWidth = 3 * px;
  stroke();
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.3 * px;
  stroke();
}
