// Pictures of frames: loaded ahead, kept for a while, and a thumbnail until one has come.

const NUM_KEPT = 48;
const NUM_AHEAD = 6;

export class Frames extends EventTarget {
  constructor() {
    super();
    this.kept = new Map();
    this.thumbnails = new Map();
    this.numFrames = 0;
  }

  /** The picture of a frame if it is here, else null: then it is fetched; those beside it, once it is here. */
  get(index, direction = 1) {
    const image = this.fetch(index);
    if (!isReady(image)) return null;
    for (let step = 1; step <= NUM_AHEAD; step += 1) {
      this.fetch(index + step * direction);
      if (step === 1) this.fetch(index - direction);
    }
    while (this.kept.size > NUM_KEPT) this.kept.delete(this.kept.keys().next().value);
    return image;
  }

  fetch(index) {
    if (index < 0 || index >= this.numFrames) return null;
    let image = this.kept.get(index);
    if (image) {
      this.kept.delete(index);
    } else {
      image = this.begin(`/frames/${index}.jpg`, index, this.kept, "loaded");
    }
    this.kept.set(index, image);
    return image;
  }

  /** A small picture of a frame if it is here, else null. */
  thumbnail(index) {
    if (!this.thumbnails.has(index)) this.thumbnails.set(index, this.begin(`/thumbnails/${index}.jpg`, index, this.thumbnails, "thumbnail"));
    const image = this.thumbnails.get(index);
    return isReady(image) ? image : null;
  }

  /** The thumbnail nearest to a frame that is here, else null. */
  nearest(index) {
    let best = null;
    for (const [at, image] of this.thumbnails) {
      if (isReady(image) && (best === null || Math.abs(at - index) < Math.abs(best - index))) best = at;
    }
    return best === null ? null : this.thumbnails.get(best);
  }

  /** Load a picture, and decode it before it is needed; tell so. */
  begin(address, index, images, kind) {
    const image = new Image();
    image.fetchPriority = kind === "loaded" ? "high" : "low";
    image.src = address;
    image.decode().then(
      () => this.dispatchEvent(new CustomEvent(kind, { detail: index })),
      // Whatever did not come is asked for again when it is next wanted.
      () => images.get(index) === image && images.delete(index),
    );
    return image;
  }
}

function isReady(image) {
  return Boolean(image?.complete && image.naturalWidth);
}
