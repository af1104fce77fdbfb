// What a pointer does on the canvas: one finger or button uses the tool, two fingers or the middle button move.

import { outlined } from "./view.js";

const KEY_STEP_PX = 4;

export class Tools {
  /** `use` is told what was meant, in pixels of the video: click, box or stroke. */
  constructor(view, use) {
    this.view = view;
    this.use = use;
    this.tool = "click";
    this.radius = 16;
    this.pointers = new Map();
    this.begun = null; // { x, y, points, erases } of what is being drawn
    this.hover = null;
    this.crosshair = null; // where the keys point
    view.drawn.push((context, px) => this.draw(context, px * (window.devicePixelRatio || 1)));
    const canvas = view.canvas;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.up(event));
    canvas.addEventListener("pointerleave", () => this.setHover(null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  set(tool) {
    this.tool = tool;
    this.begun = null;
    this.view.canvas.style.cursor = { pan: "grab", brush: "none", eraser: "none" }[tool] ?? "crosshair";
    this.view.draw();
  }

  get paints() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  // --- pointers ------------------------------------------------------------------------------------------------

  down(event) {
    const at = this.view.locate(event);
    // Some pointers cannot be captured, such as those that a program makes.
    try {
      this.view.canvas.setPointerCapture(event.pointerId);
    } catch {
      // It is followed while it stays on the canvas.
    }
    this.view.canvas.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size === 2) {
      this.begun = null;
      this.view.draw();
      return;
    }
    if (this.tool === "pan" || event.button === 1) {
      this.isMoving = true;
      return;
    }
    this.begin(at, event.button === 2 || event.altKey);
  }

  moved(event) {
    const at = this.view.locate(event);
    const before = this.pointers.get(event.pointerId);
    if (before) this.pointers.set(event.pointerId, at);
    if (before && this.pointers.size === 2) this.pinch(event.pointerId, before, at);
    else if (before && this.isMoving) this.view.move(at.canvasX - before.canvasX, at.canvasY - before.canvasY);
    else if (before && this.begun) this.go(at);
    this.setHover(at);
  }

  up(event) {
    const at = this.view.locate(event);
    const wasOne = this.pointers.size === 1;
    this.pointers.delete(event.pointerId);
    this.isMoving = false;
    if (wasOne && event.type === "pointerup") this.end(at);
    else this.begun = null;
    if (event.pointerType === "touch") this.setHover(null);
  }

  pinch(moving, before, at) {
    const [other] = [...this.pointers].filter(([id]) => id !== moving).map(([, point]) => point);
    const reach = (point) => Math.hypot(point.canvasX - other.canvasX, point.canvasY - other.canvasY);
    this.view.move((at.canvasX - before.canvasX) / 2, (at.canvasY - before.canvasY) / 2);
    this.view.zoom(reach(at) / Math.max(1, reach(before)), (at.canvasX + other.canvasX) / 2, (at.canvasY + other.canvasY) / 2);
  }

  wheel(event) {
    event.preventDefault();
    const at = this.view.locate(event);
    this.view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), at.canvasX, at.canvasY);
  }

  // --- what is drawn -------------------------------------------------------------------------------------------

  begin(at, isOther = false) {
    this.begun = { x: at.x, y: at.y, points: [[at.x, at.y]], isOther };
    this.view.draw();
  }

  go(at) {
    if (this.paints) {
      const [x, y] = this.begun.points.at(-1);
      if (Math.hypot(at.x - x, at.y - y) >= Math.max(1, this.radius / 6) && this.begun.points.length < 5000) {
        this.begun.points.push([at.x, at.y]);
      }
    }
    Object.assign(this.begun, { toX: at.x, toY: at.y });
    this.view.draw();
  }

  end(at) {
    const begun = this.begun;
    this.begun = null;
    this.view.draw();
    if (!begun) return;
    if (this.tool === "click" || this.tool === "beside") {
      this.use.click(begun.x, begun.y, (this.tool === "click") !== begun.isOther);
    } else if (this.tool === "box") {
      const box = [Math.min(begun.x, at.x), Math.min(begun.y, at.y), Math.max(begun.x, at.x), Math.max(begun.y, at.y)];
      if (box[2] - box[0] >= 3 && box[3] - box[1] >= 3) this.use.box(box);
    } else if (this.paints) {
      this.use.stroke(begun.points, this.radius, (this.tool === "eraser") !== begun.isOther);
    }
  }

  cancel() {
    const wasBusy = Boolean(this.begun || this.crosshair);
    this.begun = this.crosshair = null;
    this.view.draw();
    return wasBusy;
  }

  // --- pointing with the keys ----------------------------------------------------------------------------------

  toggleCrosshair() {
    const { width, height } = this.view.layer;
    this.crosshair = this.crosshair ? null : this.hover ?? { x: width / 2, y: height / 2 };
    this.view.draw();
  }

  /** Move the crosshair; false where there is none. */
  moveCrosshair(dx, dy, isFast) {
    if (!this.crosshair) return false;
    const step = isFast ? 10 * KEY_STEP_PX : KEY_STEP_PX;
    this.crosshair = this.view.clamp(this.crosshair.x + dx * step, this.crosshair.y + dy * step);
    if (this.begun) this.go(this.crosshair);
    this.view.draw();
    return true;
  }

  /** Use the tool at the crosshair: boxes and strokes begin with one press and end with the next. */
  press(isOther) {
    if (!this.crosshair) return false;
    const takesTwo = this.tool === "box" || this.paints;
    if (!this.begun) {
      this.begin(this.crosshair, isOther);
      if (takesTwo) return true;
    }
    this.end(this.crosshair);
    return true;
  }

  // --- drawing -------------------------------------------------------------------------------------------------

  setHover(at) {
    this.hover = at;
    if (this.paints) this.view.draw();
  }

  draw(context, px) {
    const { begun, crosshair } = this;
    if (begun && this.tool === "box" && begun.toX !== undefined) {
      context.setLineDash([6 * px, 4 * px]);
      outlined(context, px, () => context.strokeRect(begun.x, begun.y, begun.toX - begun.x, begun.toY - begun.y));
      context.setLineDash([]);
    }
    if (begun && this.paints) this.drawStroke(context, begun);
    const at = crosshair ?? this.hover;
    if (at && this.paints) {
      context.beginPath();
      context.arc(at.x, at.y, this.radius, 0, 2 * Math.PI);
      outlined(context, px, () => context.stroke());
    }
    if (crosshair) {
      context.beginPath();
      context.moveTo(crosshair.x - 22 * px, crosshair.y);
      context.lineTo(crosshair.x + 22 * px, crosshair.y);
      context.moveTo(crosshair.x, crosshair.y - 22 * px);
      context.lineTo(crosshair.x, crosshair.y + 22 * px);
      outlined(context, px, () => context.stroke());
    }
  }

  drawStroke(context, begun) {
    context.save();
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * this.radius;
    context.strokeStyle = (this.tool === "eraser") !== begun.isOther ? "rgb(0 0 0 / 45%)" : "rgb(255 255 255 / 45%)";
    context.beginPath();
    context.moveTo(...begun.points[0]);
    for (const point of begun.points) context.lineTo(...point);
    if (begun.points.length === 1) context.lineTo(begun.points[0][0] + 0.01, begun.points[0][1]);
    context.stroke();
    context.restore();
  }
}
