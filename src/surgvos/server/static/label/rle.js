// Run lengths as COCO has them: column by column, a run of zeros first.

/** Write `value` wherever a mask is set; its first and last column. `target` holds rows of `width` pixels. */
export function paintRuns(counts, width, height, target, value) {
  let position = 0;
  let [first, last] = [width, -1];
  for (let run = 0; run < counts.length; run += 1) {
    const end = position + counts[run];
    if (run % 2 === 1 && end > position) {
      let y = position % height;
      let index = y * width + (position - y) / height;
      first = Math.min(first, Math.floor(position / height));
      last = Math.floor((end - 1) / height);
      for (; position < end; position += 1) {
        target[index] = value;
        y += 1;
        index += width;
        if (y === height) {
          y = 0;
          index += 1 - width * height;
        }
      }
    }
    position = end;
  }
  return [first, last];
}
