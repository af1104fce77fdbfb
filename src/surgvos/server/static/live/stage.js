// The picture, and what is shown on it with the mouse. What is shown belongs to the picture that was seen: while the
// mouse is down, the picture stands still.
const SILENCE_MS = 1500;
const SMALLEST_BOX_PX = 4;
const MARK_MS = 700;

export class Stage {
  constructor(picture, marks, curtain, onShown) {
    this.tool = "on";
    this.picture = picture;
    this.marks = marks;
    this.curtain = curtain;
    this.onShown = onShown;
    this.frame = null;
    this.drag = null;
    this.lastMs = performance.now();
    marks.addEventListener("pointerdown", (event) => this.press(event));
    marks.addEventListener("pointermove", (event) => this.move(event));
    marks.addEventListener("pointerup", (event) => this.release(event));
    marks.addEventListener("pointercancel", () => this.forget());
    setInterval(() => this.watch(), 250);
  }

  // Draws unless the mouse is down; done when the picture is on the screen.
  async show(description, jpeg) {
    this.lastMs = performance.now();
    const image = await createImageBitmap(jpeg);
    if (!this.drag) this.draw(description, image);
    image.close();
  }

  draw(description, image) {
    for (const canvas of [this.picture, this.marks]) {
      if (canvas.width !== image.width || canvas.height !== image.height) {
        canvas.width = image.width;
        canvas.height = image.height;
      }
    }
    this.picture.getContext("2d").drawImage(image, 0, 0);
    this.frame = description.frame;
    this.picture.dataset.frame = this.frame;
  }

  // A picture that stops coming must not look like a live one.
  watch() {
    const silentMs = performance.now() - this.lastMs;
    this.curtain.hidden = silentMs < SILENCE_MS;
    this.curtain.textContent = `no connection for ${(silentMs / 1000).toFixed(0)} s`;
  }

  press(event) {
    if (this.frame === null || event.button !== 0) return;
    const start = this.toPixels(event);
    if (!start) return;
    this.marks.setPointerCapture(event.pointerId);
    this.drag = { frame: this.frame, start, end: start };
    this.onShown({ kind: "hold", frame: this.frame });
  }

  move(event) {
    if (!this.drag || this.tool !== "box") return;
    this.drag.end = this.toPixels(event, true);
    this.drawMarks((context) => {
      const { start, end } = this.drag;
      context.strokeRect(start[0], start[1], end[0] - start[0], end[1] - start[1]);
    });
  }

  release(event) {
    if (!this.drag) return;
    const { frame, start } = this.drag;
    const end = this.toPixels(event, true);
    this.forget();
    if (this.tool === "box") {
      const box = [Math.min(start[0], end[0]), Math.min(start[1], end[1]), Math.max(start[0], end[0]), Math.max(start[1], end[1])];
      if (box[2] - box[0] >= SMALLEST_BOX_PX && box[3] - box[1] >= SMALLEST_BOX_PX) {
        this.onShown({ kind: "box", frame, box_xyxy: box });
      }
      return;
    }
    this.onShown({ kind: "click", frame, x: start[0], y: start[1], is_on: this.tool === "on" });
    this.drawMarks((context) => {
      const radius = this.marks.height / 90;
      context.beginPath();
      context.arc(start[0], start[1], radius, 0, 2 * Math.PI);
      context.stroke();
      context.fillText(this.tool === "on" ? "+" : "−", start[0] + 1.5 * radius, start[1] - radius);
    });
    setTimeout(() => this.drag || this.drawMarks(() => {}), MARK_MS);
  }

  forget() {
    this.drag = null;
    this.drawMarks(() => {});
  }

  drawMarks(draw) {
    const context = this.marks.getContext("2d");
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    context.strokeStyle = context.fillStyle = "#ffc440";
    context.lineWidth = Math.max(2, this.marks.height / 300);
    context.font = `${this.marks.height / 28}px sans-serif`;
    draw(context);
  }

  // From the page to pixels of the video; null beside the picture, or its edge where that is wanted.
  toPixels(event, toEdge = false) {
    const { width, height } = this.marks;
    const frame = this.marks.getBoundingClientRect();
    const scale = Math.min(frame.width / width, frame.height / height);
    const x = (event.clientX - frame.left - (frame.width - width * scale) / 2) / scale;
    const y = (event.clientY - frame.top - (frame.height - height * scale) / 2) / scale;
    const inside = x >= 0 && y >= 0 && x < width && y < height;
    if (!inside && !toEdge) return null;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
  }
}
