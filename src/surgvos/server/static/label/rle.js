// Run lengths as COCO has them: column by column, a run of zeros first.

/** Write `value` wherever a mask is set. `target` holds rows of `width` pixels. */
export function paintRuns(counts, width, height, target, value) {
  let position = 0;
  for (let run = 0; run < counts.length; run += 1) {
    const end = position + counts[run];
    if (run % 2 === 1) {
      let y = position % height;
      let index = y * width + (position - y) / height;
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
}

/** Pixels of a mask. */
export function areaOf(counts) {
  let area = 0;
  for (let run = 1; run < counts.length; run += 2) area += counts[run];
  return area;
}
